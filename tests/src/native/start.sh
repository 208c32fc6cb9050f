# The first process of a board's container. $1 its folder, $2 the repository, $3 its card, $4 the agent, $5 the port of /health,
# $6 whether this start tries a slot.
set -eu
home=$1 repo=$2 card=$3 agent=$4 port=$5 trial=$6
# Its own root: the machine's, and what is written goes to memory, but for the card's data partition.
mount -t tmpfs -o size=64m tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
root=/mnt/root
mkdir -p $root/data $root/repo $root/usr/lib/hypriot $root/usr/share/hypriot $root/etc/hypriot
# nothing of a HypriotOS that this machine may be
for own in usr/lib/hypriot usr/share/hypriot etc/hypriot; do mount -t tmpfs -o size=1m tmpfs $root/$own; done
mkdir $root/usr/share/hypriot/selftest.d $root/etc/hypriot/agent.d
mount "${card}p7" $root/data
mount --bind "$repo" $root/repo
mount --rbind /dev $root/dev
mount --rbind /sys $root/sys
mount -t proc proc $root/proc
mount --bind "$home/cmdline" $root/proc/cmdline
mount --bind "$home/boot_id" $root/proc/sys/kernel/random/boot_id
mount -t tmpfs -o size=16m tmpfs $root/run
cat "$home/machine-id" > $root/etc/machine-id
cat "$home/agent.toml" > $root/usr/lib/hypriot/agent.toml
cat "$home/selftest.yaml" > $root/usr/share/hypriot/selftest.d/10-test.yaml
cat "$repo/1.root.json" > $root/usr/share/hypriot/root.json
cat "$home/owner.toml" > $root/etc/hypriot/agent.d/fleet.toml
mkdir -p $root/run/hypriot $root/run/systemd/timesync
touch $root/run/systemd/timesync/synchronized
echo "$card" > $root/run/hypriot/card
[ "$trial" = 0 ] || touch $root/run/hypriot/trial
rm -f $root/usr/bin/hypriot-agent
touch $root/usr/bin/hypriot-agent
mount --bind "$agent" $root/usr/bin/hypriot-agent
# systemd, as far as the agent asks it; a restart ends this process, and with it all others of the container
rm -f $root/usr/bin/systemctl $root/usr/bin/dockerd $root/usr/sbin/dockerd
cat > $root/usr/bin/systemctl <<'X'
#!/bin/sh
case "$1" in
  reboot) kill -TERM 1; sleep 60 ;;
  is-system-running) echo running ;;
esac
X
chmod 755 $root/usr/bin/systemctl
trap 'exit 0' TERM
chroot $root /usr/bin/hypriot-agent run &
chroot $root /usr/bin/hypriot-agent serve --listen "127.0.0.1:$port" &
[ "$trial" = 1 ] || chroot $root /usr/bin/hypriot-agent came-up &
wait
