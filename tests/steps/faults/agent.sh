# The agent of a release with planted faults: a file on the first partition says which. The board is switched on with another word
# in it for each cell, and the release stays the same.
word=$(cat /boot/fault 2> /dev/null || echo works)
case "$word $1" in
    "does-not-start "*) exit 203 ;;
    "hangs run") exec sleep infinity ;;
    "crashes run") kill -SEGV $$ ;;
    "out-of-memory run") exec tail /dev/zero ;;
esac
exec /usr/bin/hypriot-agent "$@"
