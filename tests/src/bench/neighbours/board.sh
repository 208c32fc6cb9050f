# A board among others: it is announced by its own avahi, lends, and installs when it is told to. $1 its name, $2 the source.
set -e
mkdir -p /run/avahi-daemon /run/hypriot/lend /tmp
rm -f /etc/avahi/services/*
cp /run/neighbours.service /etc/avahi/services/hypriot-update.service
cat > /run/avahi.conf <<END
[server]
host-name=$1
enable-dbus=no
use-ipv6=no
allow-interfaces=eth0
[publish]
publish-workstation=no
END
avahi-daemon --no-drop-root --no-chroot --no-rlimits -f /run/avahi.conf > /run/avahi.log 2>&1 &
card=$(cat /run/hypriot/card)
# what the agent lays out at its start, and systemd opens (hypriot-neighbours.service)
for part in boot-a:2 boot-b:3 root-a:5 root-b:6; do ln -s "${card}p${part#*:}" "/run/hypriot/lend/${part%:*}"; done
lend='LISTEN_PID=$$ exec /usr/bin/hypriot-agent lend'
LISTEN_FDS=4 LISTEN_FDNAMES=boot-a:boot-b:root-a:root-b sh -c "$lend" \
    3< /run/hypriot/lend/boot-a 4< /run/hypriot/lend/boot-b 5< /run/hypriot/lend/root-a 6< /run/hypriot/lend/root-b \
    > /run/lend.log 2>&1 &
rm /run/hypriot/lend/boot-? /run/hypriot/lend/root-?
# announced: until then avahi still asks whether somebody else has its name
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    if grep -q 'Service ".*" .* successfully established' /run/avahi.log; then break; fi
    sleep 1
done
grep -q 'successfully established' /run/avahi.log || { cat /run/avahi.log /run/lend.log >&2; exit 1; }
echo ready
read -r _go
/usr/bin/hypriot-agent install "$2" --no-reboot --json || { cat /run/lend.log >&2; echo failed; exit 1; }
echo done
# a board that is done still lends
read -r _end
