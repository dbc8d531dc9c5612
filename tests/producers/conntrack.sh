#!/bin/sh
# Runs in a network namespace of its own: $1 file of the events, $2 Python, $3 number of flows. Loopback is translated.
ip link set lo up || exit 3
nft -f - <<'RULES' || exit 3
table ip nat {
    chain postrouting {
        type nat hook postrouting priority 100;
        ip daddr 127.0.0.2 udp dport 9000 snat to 127.0.0.9:40000-49999
    }
}
RULES
sysctl -qw net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_acct=1 || exit 3
conntrack -E -o timestamp,extended,id -e NEW,DESTROY -p udp > "$1" &
reader=$!
# Netlink's protocol 12 is netfilter's; who listens to events has groups. What ends before it listens never will.
until awk '$2 == 12 && $4 !~ /^0+$/ { found = 1 } END { exit !found }' /proc/net/netlink; do
    kill -0 "$reader" || exit 3
    sleep 0.1
done
"$2" - "$3" <<'FLOWS' || exit 4
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.2", 9000))
for number in range(int(sys.argv[1])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 20000 + number))
        client.settimeout(60)
        client.sendto(b"x", ("127.0.0.2", 9000))
        data, peer = server.recvfrom(10)
        server.sendto(b"y", peer)
        client.recv(10)
FLOWS
conntrack -D -p udp --dport 9000 >/dev/null 2>&1
for _ in $(seq 300); do
    [ "$(grep -c DESTROY "$1")" -ge "$3" ] && break
    sleep 0.1
done
kill "$reader"
