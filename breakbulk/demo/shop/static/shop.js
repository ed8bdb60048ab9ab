// A comfort: without it the page loads itself again while something moves.
"use strict";

const live = document.getElementById("live");
let shown = null;

async function look() {
  if (!document.hidden) {
    try {
      // What has not changed comes from the browser's own cache.
      const answer = await fetch(live.dataset.live);
      if (answer.ok) {
        const text = await answer.text();
        if (text !== shown) live.innerHTML = shown = text;
      }
      live.classList.toggle("stale", !answer.ok);
    } catch {
      live.classList.add("stale");
    }
  }
  setTimeout(look, live.querySelector("[data-moving=yes]") ? 700 : 2500);
}

setTimeout(look, 700);
