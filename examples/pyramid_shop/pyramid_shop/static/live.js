// While a run goes on, look again; without scripts the page loads itself anew.
"use strict";

const live = document.getElementById("live");

async function look() {
  if (!document.hidden && live.querySelector("[data-moving=yes]")) {
    const answer = await fetch(live.dataset.live).catch(() => null);
    if (answer && answer.ok) live.innerHTML = await answer.text();
  }
  setTimeout(look, 1000);
}

setTimeout(look, 1000);
