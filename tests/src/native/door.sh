#!/bin/bash
# What sshd starts for a key of `hypriot-fleet authorize`, behind the door of the board whose port was asked. $1: the folder of all.
set -eu
home=$1/board-${SSH_CONNECTION##* }
# the child of unshare is the first process of the container; while the board restarts there is none
first=$(cat "$home/pid")
read -r pid _ < "/proc/$first/task/$first/children" || [ -n "${pid:-}" ] || exit 255
exec nsenter --target "$pid" --mount --pid --uts --ipc --time -- chroot /mnt/root /usr/bin/hypriot-agent remote
