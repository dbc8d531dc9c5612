#!/bin/sh
# Runs in a network namespace of its own: $1 folder, $2 programs' folder of fakesmsc, $3 number of messages.
ip link set lo up || exit 3
bearerbox "$1/kannel.conf" &
until grep -q ':2710 ' /proc/net/tcp; do sleep 0.2; done
smsbox "$1/kannel.conf" &
sleep 1
"$2/fakesmsc" -H 127.0.0.1 -r 10000 -i 0.05 -m "$3" "46700000001 4321 text secretword"
wait
