#!/bin/sh
# What an instance does when it starts: fetch what the application is told, start a worker, and let
# the autoscaling group know when the worker has ended for good.
set -eu

install -d -m 700 /etc/shop
aws ssm get-parameter --region "${region}" --name "${environment_parameter}" --with-decryption \
    --query Parameter.Value --output text >/etc/shop/environment
echo "BREAKBULK_NODE=ec2" >>/etc/shop/environment
systemctl enable --now shop-worker@1.service shop-worker-alive@1.timer

cat >/usr/local/sbin/shop-gone <<'SCRIPT'
#!/bin/sh
# The worker has ended: if that is because the instance is to go, it may go now.
set -eu
metadata() {
    token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
    curl -sf -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/$1"
}
[ "$(metadata autoscaling/target-lifecycle-state)" = Terminated ] || exit 0
systemctl disable --now shop-worker-alive@1.timer
systemctl disable shop-worker@1.service
aws autoscaling complete-lifecycle-action --region "${region}" --auto-scaling-group-name "${group}" \
    --lifecycle-hook-name "${hook}" --lifecycle-action-result CONTINUE \
    --instance-id "$(metadata instance-id)"
SCRIPT
chmod 755 /usr/local/sbin/shop-gone
install -d /etc/systemd/system/shop-worker@.service.d
printf '[Service]\nExecStopPost=+/usr/local/sbin/shop-gone\n' \
    >/etc/systemd/system/shop-worker@.service.d/gone.conf
systemctl daemon-reload
