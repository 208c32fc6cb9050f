# Looks at the agent under systemd, writes what it sees, and ends the machine.
tested() {
    for _ in $(seq 240); do
        grep -q '"selftests":{"ran_at"' /run/hypriot/report.json 2>/dev/null && return
        sleep 0.25
    done
    echo "no self-tests within a minute"
}
tested
cp /run/hypriot/report.json /out/first.json
systemctl show hypriot-agent -p ActiveState -p NRestarts
agent=$(systemctl show --property MainPID --value hypriot-agent)
grep -E '^(CapEff|NoNewPrivs|Seccomp):' "/proc/$agent/status"
cat >/run/walls.sh <<'END'
for place in /etc /usr /data /home /var /var/lib /tmp /sys/fs/cgroup /proc/sys/kernel/panic; do
    [ -d "$place" ] && place=$place/hypriot-look
    (echo 5 >"$place") 2>/dev/null && echo "$place can be written"
done
echo 5 >/data/hypriot/look && rm /data/hypriot/look && echo "its memory can be written"
END
nsenter --mount --target "$agent" sh /run/walls.sh
# an agent that dies in the middle of its tests, and leaves them running
systemd-run --quiet --unit hypriot-tests-image sleep 600
rm /run/hypriot/report.json
systemctl kill --signal KILL hypriot-agent
for _ in $(seq 240); do
    [ "$(systemctl show --property NRestarts --value hypriot-agent)" = 1 ] && break
    sleep 0.25
done
tested
cp /run/hypriot/report.json /out/second.json
systemctl show hypriot-agent -p ActiveState -p NRestarts
echo looked
# systemd(1), SIGRTMIN+14: power off at once, by force
kill -s RTMIN+14 1
