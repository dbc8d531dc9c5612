#!/bin/sh
# Runs in a network namespace of its own: $1 folder, $2 programs' folder of fakesmsc, $3 number of messages.
ip link set lo up || exit 3
bearerbox "$1/kannel.conf" &
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    grep -q ':2710 ' /proc/net/tcp && break
    sleep 0.2
done
smsbox "$1/kannel.conf" &
sleep 1
"$2/fakesmsc" -H 127.0.0.1 -r 10000 -i 0.05 -m "$3" "46700000001 4321 text secretword"
wait
