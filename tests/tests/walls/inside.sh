#!/bin/sh
# A machine of its own for systemd, in name spaces of its own (process, mount, host name, network, cgroup): this one's files under
# a layer in memory, nothing of its devices, its kernel's settings read-only. $1: where to work, $2: the agent, $3: our units.
set -eu
work=$1 agent=$2 units=$3
mount --make-rprivate /
mkdir "$work/layer"
mount -t tmpfs tmpfs "$work/layer"
mkdir "$work/layer/upper" "$work/layer/work" "$work/layer/root"
root=$work/layer/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layer/upper,workdir=$work/layer/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
# where the older hierarchy is mounted, its own folder cannot be made in a read-only sysfs
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
touch "$root/dev/kmsg"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/run/units" "$root/run/hypriot" "$root/data/hypriot" "$root/out"
mount --bind "$work/out" "$root/out"
cp "$agent" "$root/usr/bin/hypriot-agent"
rm -rf "$root/usr/share/hypriot" "$root/etc/hypriot" "$root/usr/lib/hypriot"
mkdir -p "$root/usr/share/hypriot/selftest.d"
cp "$work/tests.yaml" "$root/usr/share/hypriot/selftest.d/10-tests.yaml"
cp "$work/look.sh" "$root/run/units/look.sh"
cp "$units/hypriot-agent.service" "$root/run/units/"
cp "$root/usr/lib/systemd/system/dbus.socket" "$root/usr/lib/systemd/system/dbus.service" "$root/run/units/"
for target in sysinit basic sockets multi-user local-fs network shutdown umount final; do
    printf '[Unit]\nDescription=%s\n' "$target" >"$root/run/units/$target.target"
done
cat >"$root/run/units/look.target" <<'UNIT'
[Unit]
Requires=dbus.socket
Wants=hypriot-agent.service look.service
After=dbus.socket
UNIT
cat >"$root/run/units/look.service" <<'UNIT'
[Unit]
After=hypriot-agent.service
[Service]
Type=oneshot
ExecStart=/bin/sh /run/units/look.sh
StandardOutput=file:/out/log
StandardError=append:/out/log
UNIT
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
# systemd(1): it starts what it finds there, and nothing of this machine
exec env -i container=other SYSTEMD_UNIT_PATH=/run/units PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --unit=look.target --log-target=console --log-level=warning --show-status=no
