#!/usr/bin/env bash
# Runs every example against the clients named in its first lines and compares what they print.
#
#     examples/check.sh [DIRECTORY WITH THE EXAMPLES]      (without it they are built here)
#
# The system chooses the ports, every wait has a limit, and the script ends only processes that it started.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for client in nc socat openssl nats-server python3 curl redis-cli redis-benchmark dig dnsperf dnsmasq; do command -v "$client" >/dev/null || missing+=("$client"); done
if [ ${#missing[@]} -gt 0 ]; then
    echo "not installed: ${missing[*]} (on Debian: netcat-openbsd, socat, openssl, nats-server, python3, curl, redis-tools, bind9-dnsutils, dnsperf, dnsmasq-base)" >&2
    exit 1
fi

bin=${1:-}
if [ -z "$bin" ]; then
    cargo build --release --locked --examples
    bin=${CARGO_TARGET_DIR:-target}/release/examples
fi
work=$(mktemp -d)
started=()
cleanup() {
    for pid in "${started[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

example=''
fail() {
    echo "FAILED: $example: $*" >&2
    echo "--- what it printed:" >&2
    cat "$work/$example.out" >&2
    exit 1
}

# As `grep -q`, but it reads to the end: a writer whose reader has left fails, and the pipe with it.
has() { grep "$@" >/dev/null; }

# within SECONDS COMMAND...: tries until the command succeeds.
within() {
    local tries=$(($1 * 50))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.02
    done
}

# run EXAMPLE ARGUMENTS...: starts it and learns its address, the first line it prints.
run() {
    example=$1
    shift
    # An address that an earlier run of the example has printed is not this one's.
    : >"$work/$example.out"
    "$bin/$example" "$@" >"$work/$example.out" 2>&1 &
    server=$!
    started+=("$server")
    within 10 test -s "$work/$example.out" || fail "prints no address"
    address=$(head -n 1 "$work/$example.out")
    port=${address##*:}
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

# finish: stops the example as Ctrl-C does; its status says whether anything was cut off.
finish() {
    kill -TERM "$server"
    within 20 has_ended "$server" || fail "does not stop"
    wait "$server" || fail "ends with status $?"
    tail -n 1 "$work/$example.out" | has '^0 processes not drained' || fail "prints no report"
    echo "ok: $example"
}

# open NAME CLIENT...: starts a client whose input and output are pipes held here.
declare -A in out pid
open() {
    local name=$1 writer reader
    shift
    mkfifo "$work/$name.in" "$work/$name.out"
    exec {writer}<>"$work/$name.in" {reader}<>"$work/$name.out"
    "$@" <&"$writer" >&"$reader" 2>/dev/null &
    pid[$name]=$!
    started+=("$!")
    in[$name]=$writer
    out[$name]=$reader
    rm "$work/$name.in" "$work/$name.out"
}
say() { printf '%s\n' "$2" >&"${in[$1]}"; }
# hear NAME PATTERN: the next line of that client matches the pattern.
hear() {
    local line=''
    IFS= read -r -t 10 -u "${out[$1]}" line || fail "$1 hears nothing, expected: $2"
    # shellcheck disable=SC2053 # $2 is a pattern
    [[ $line == $2 ]] || fail "$1 hears '$line', expected: $2"
}
leave() {
    kill "${pid[$1]}" 2>/dev/null || true
    wait "${pid[$1]}" 2>/dev/null || true
    local writer=${in[$1]} reader=${out[$1]}
    exec {writer}>&- {reader}>&-
}

# ---- echo ----
run echo 127.0.0.1:0
head -c 1000000 /dev/urandom >"$work/bytes"
# The client shuts down its side at the end of its input (-N); everything comes back before the connection closes.
timeout 20 nc -N 127.0.0.1 "$port" <"$work/bytes" | cmp - "$work/bytes" || fail "nc does not get its bytes back"
timeout 20 socat -t 10 - "TCP:127.0.0.1:$port" <"$work/bytes" | cmp - "$work/bytes" || fail "socat does not"
open udp nc -u 127.0.0.1 "$port"
say udp "a datagram"
hear udp "a datagram"
leave udp
finish

# ---- kv ----
run kv 127.0.0.1:0 --max-memory 100000
redis() { timeout 20 redis-cli -p "$port" "$@"; }
answers() {
    local answer
    answer=$(redis "${@:2}") || fail "redis-cli ends with status $?: ${*:2}"
    [ "$answer" = "$1" ] || fail "redis-cli ${*:2}: '$answer', expected: '$1'"
}
answers PONG ping
answers OK set color blue
answers blue get color
answers "" get nothing
answers OK set soon gone px 50
is_gone() { [ "$(redis exists soon)" = 0 ]; }
within 10 is_gone || fail "a key with an expiry stays"
answers 1 incr count
answers 2 incr count
answers "ERR value is not an integer or out of range" incr color
answers 1 expire color 100
answers 100 ttl color
answers 2 del color count soon nothing
head -c 99000 /dev/zero | tr '\0' x >"$work/large"
redis -x set large <"$work/large" | has -x OK || fail "a large value is refused"
redis get large | head -c 99000 | cmp - "$work/large" || fail "a large value comes back changed"
answers "OOM command not allowed when used memory > 'maxmemory'." set other "$(head -c 2000 "$work/large")"
answers OK flushall
answers 0 dbsize
for pipeline in 1 16 64; do
    timeout 60 redis-benchmark -p "$port" -t get,set -P "$pipeline" -n 20000 -q >"$work/benchmark" 2>&1 || fail "redis-benchmark ends with status $?"
    if grep -qi error "$work/benchmark"; then fail "redis-benchmark: $(cat "$work/benchmark")"; fi
done
printf 'GET / HTTP/1.1\r\n\r\n' | timeout 10 nc 127.0.0.1 "$port" | has '^-ERR Protocol error' || fail "HTTP is not refused"
finish

# ---- dns ----
# The upstream is a real server; another one never answers.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
dns_upstream=$(free_port)
long=$(head -c 200 /dev/zero | tr '\0' x)
dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --pid-file= --port="$dns_upstream" --listen-address=127.0.0.1 \
    --bind-interfaces --address=/test/192.0.2.1 --txt-record="large.test,$long,$long,$long,$long" >"$work/dnsmasq.out" 2>&1 &
started+=("$!")
python3 -c '
import socket, time
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 0))
print(silent.getsockname()[1], flush=True)
time.sleep(600)' >"$work/silent.out" 2>&1 &
started+=("$!")
within 10 test -s "$work/silent.out" || fail "no silent upstream"
silent=127.0.0.1:$(cat "$work/silent.out")
ask() { timeout 20 dig +tries=1 +time=10 -p "$port" "$@"; }
is_there() { dig +short +tries=1 +time=1 -p "$dns_upstream" @127.0.0.1 small.test | has -x 192.0.2.1; }
within 10 is_there || fail "no upstream: $(cat "$work/dnsmasq.out")"
# The socket has all addresses; dig takes an answer from no other one than it has asked.
for host in 0.0.0.0 '[::]'; do
    run dns "$host:0" --upstream "127.0.0.1:$dns_upstream"
    for asked in 127.0.0.1 127.0.0.2 127.0.0.3; do
        [ "$(ask +short "@$asked" small.test)" = 192.0.2.1 ] || fail "no answer of $asked on $host"
        [ "$(ask +short +tcp "@$asked" small.test)" = 192.0.2.1 ] || fail "no answer of $asked on $host over TCP"
    done
    finish
done
run dns 127.0.0.1:0 --upstream "127.0.0.1:$dns_upstream"
ask @127.0.0.1 +noedns +ignore large.test txt | has '^;; flags:.* tc' || fail "a long answer is not truncated"
[ "$(ask @127.0.0.1 +short +noedns large.test txt | wc -c)" -gt 800 ] || fail "a long answer does not come over TCP"
[ "$(ask @127.0.0.1 +short +bufsize=4096 +ignore large.test txt | wc -c)" -gt 800 ] || fail "a long answer does not fit EDNS"
[ "$(ask @127.0.0.1 +short +tcp +keepopen small.test other.test | wc -l)" = 2 ] || fail "two queries on a connection"
python3 - "$port" <<'END' || fail "what is no query is not answered as it should be"
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(10)
client.connect(("127.0.0.1", int(sys.argv[1])))
header = bytes.fromhex("123401000000000000000000")  # a query without a question
for nonsense in [b"", b"x", header[:11], b"\x12\x34\x80" + header[3:]]:
    client.send(nonsense)
client.send(header)
answer = client.recv(100)
if answer != bytes.fromhex("123481810000000000000000"): sys.exit("no format error")
# Over TCP: what is no query ends the connection, and the server has not failed.
stream = socket.create_connection(client.getpeername(), 10)
stream.sendall(b"\x00\x03abc")
sys.exit(stream.recv(100) != b"")
END
if grep ERROR "$work/dns.out"; then fail "what is no query is a failure"; fi
for number in $(seq 1000); do echo "n$number.test A"; done >"$work/names"
for mode in udp tcp; do
    timeout 60 dnsperf -m "$mode" -s 127.0.0.1 -p "$port" -d "$work/names" -l 3 -c 8 >"$work/dnsperf" 2>&1 || fail "dnsperf ends with status $?"
    grep -q 'Queries lost: *0 ' "$work/dnsperf" || fail "dnsperf over $mode: $(cat "$work/dnsperf")"
    grep -q 'NOERROR [0-9]* (100.00%)' "$work/dnsperf" || fail "dnsperf over $mode: $(cat "$work/dnsperf")"
done
finish
# The first upstream is silent: the second one is asked.
run dns 127.0.0.1:0 --upstream "$silent" --upstream "127.0.0.1:$dns_upstream" --timeout 100
[ "$(ask @127.0.0.1 +short small.test)" = 192.0.2.1 ] || fail "the second upstream is not asked"
finish
run dns 127.0.0.1:0 --upstream "$silent" --timeout 100
for by in +notcp +tcp; do
    ask @127.0.0.1 "$by" small.test | has 'status: SERVFAIL' || fail "no SERVFAIL of a silent upstream with $by"
done
finish
# As many wait as may: the next gets its answer at once.
run dns 127.0.0.1:0 --upstream "$silent" --timeout 5000 --max-waiting 1
open first dig +tries=1 +time=10 -p "$port" @127.0.0.1 small.test
refused() { timeout 2 dig +tries=1 +time=1 -p "$port" @127.0.0.1 other.test | has 'status: SERVFAIL'; }
within 10 refused || fail "more queries wait than may"
leave first
finish

# ---- chat ----
run chat 127.0.0.1:0
for guest in ann bob; do
    open "$guest" nc 127.0.0.1 "$port"
    hear "$guest" "what is your name[?]"
    say "$guest" "$guest"
done
hear ann "[*] bob is here"
say bob "hello"
hear ann "bob: hello"
say ann "hello yourself"
hear bob "ann: hello yourself"
# What moves a cursor or changes a color arrives as text.
say ann "$(printf 'red \033[31m and \r back')"
hear bob "ann: red ?u{1b}[[]31m and ?r back"
leave bob
hear ann "[*] bob has left: *"
leave ann
finish

# ---- supervised ----
run supervised 127.0.0.1:0
for guest in ann bob; do
    open "$guest" nc 127.0.0.1 "$port"
    hear "$guest" "what is your name[?]"
    say "$guest" "$guest"
    hear "$guest" "[*] lobby, lines so far: 0"
done
hear ann "[*] bob is here"
say bob "hello"
hear ann "bob: hello"
say bob "/join attic"
hear ann "[*] bob has left"
hear bob "[*] attic, lines so far: 0"
say bob "/join lobby"
hear bob "[*] lobby, lines so far: 1"
hear ann "[*] bob is here"
# What a guest chooses ends nothing for the others, and moves no cursor.
say bob "/join "
hear bob "[*] the name of a room has 1 to 32 letters and digits"
say bob "$(printf 'red \033[31m')"
hear ann "bob: red ?[[]31m"
# The room crashes, and is back without what was said; both are still connected, and in it.
say ann "/crash"
for guest in ann bob; do
    line=''
    until [[ $line == "* lobby, lines so far: 0" ]]; do
        IFS= read -r -t 10 -u "${out[$guest]}" line || fail "$guest does not come back to the room"
    done
done
say bob "are you still there?"
# The one who entered first heard that the other did.
IFS= read -r -t 10 -u "${out[ann]}" line || fail "ann hears nothing"
if [[ $line == "* bob is here" ]]; then hear ann "bob: are you still there[?]"
elif [[ $line != "bob: are you still there?" ]]; then fail "ann hears '$line'"; fi
leave bob
hear ann "[*] bob has left"
leave ann
finish

# ---- pubsub ----
run pubsub 127.0.0.1:0
open ann nc 127.0.0.1 "$port"
open bob socat - "TCP:127.0.0.1:$port"
say ann "sub weather"
hear ann "subscribed to weather"
for text in one two three four; do say bob "pub weather $text"; done
for text in one two three four; do hear ann "weather: $text"; done
# A later subscriber gets the last three first.
say bob "sub weather"
hear bob "subscribed to weather"
for text in two three four; do hear bob "weather: $text"; done
say ann "unsub weather"
hear ann "no longer subscribed to weather"
say ann "nonsense"
hear ann "[?] sub TOPIC, *"
say bob "pub weather $(printf 'a \033 five')"
hear bob "weather: a ?u{1b} five"
# A client that leaves before it has subscribed leaves no topic behind.
for number in 1 2 3; do
    printf 'sub left%s\n' "$number" | socat -t0 - "TCP:127.0.0.1:$port" >/dev/null
done
# The topic ends with its last subscriber, and another one of its name has nothing of it.
leave bob
say ann "sub weather"
hear ann "subscribed to weather"
say ann "pub weather six"
while read -r -t 10 -u "${out[ann]}" line; do [[ $line == "weather: six" ]] && break; done
[[ $line == "weather: six" ]] || fail "ann does not hear herself: $line"
leave ann
finish

# ---- game ----
run game 127.0.0.1:0
# await NAME PATTERN: the next line that matches the pattern, among those of other ticks.
await() {
    local line='' tries=0
    until [[ $line == $2 ]]; do
        tries=$((tries + 1))
        [ "$tries" -le 200 ] || fail "$1 does not see: $2"
        IFS= read -r -t 10 -u "${out[$1]}" line || fail "$1 sees nothing, expected: $2"
    done
}
open ann nc -u 127.0.0.1 "$port"
open bob socat - "UDP:127.0.0.1:$port"
say bob "left" # it has not joined
say ann "join"
await ann "tick *: 50,50"
say ann "left"
await ann "tick *: 49,50"
say bob "join"
await ann "tick *: * *"
say bob "down"
await ann "tick *:* 50,51*"
await bob "tick *:* 49,50*"
await bob "tick *:* 50,51*"
leave ann
leave bob
finish

# ---- demo ----
run demo 127.0.0.1:0
# Its own client is connection 0 and belongs to handler1.
within 10 grep -q '^client: got handler1: hi$' "$work/demo.out" || fail "its client gets no answer"
open one nc 127.0.0.1 "$port"
say one "first"
hear one "handler2: first"
open two nc 127.0.0.1 "$port"
say two "second"
hear two "handler1: second"
leave one
leave two
open udp nc -u 127.0.0.1 "$port"
say udp "a datagram"
hear udp "a datagram"
hear udp "(from worker <*>)"
leave udp
within 10 grep -q '^client: closed$' "$work/demo.out" || fail "its client does not close"
finish

# ---- custom_meta ----
run custom_meta 127.0.0.1:0 sed -u 's/^/you said: /'
open one nc 127.0.0.1 "$port"
say one "hi"
hear one "you said: hi"
say one "again"
hear one "you said: again"
say one "?"
hear one "2 lines"
leave one
within 10 grep -q '^program [0-9]* ends: closed by peer$' "$work/custom_meta.out" || fail "the program does not end"
# Clients that come and go, some by a reset, do not end it.
timeout 120 python3 - "$port" "${LONGSHORE_CLIENTS:-500}" <<'END' || fail "it does not outlive its clients"
import socket, struct, sys
for client in range(int(sys.argv[2])):
    peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
    peer.sendall(b"?\nhi\n")
    if client % 2:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif not peer.recv(100):
        sys.exit("no answer")
    peer.close()
END
open one nc 127.0.0.1 "$port"
say one "still there?"
hear one "you said: still there[?]"
leave one
finish
# At a stop the program gets what was accepted for it, however late it reads.
run custom_meta 127.0.0.1:0 sh -c "sleep 0.3; cat >'$work/flushed'"
open one nc 127.0.0.1 "$port"
say one "12345678"
# A question that arrives together with the line is input of the program; one that is answered came behind it.
answer=''
for _ in 1 2 3 4 5 6 7 8 9 10; do
    say one "?"
    IFS= read -r -t 1 -u "${out[one]}" answer && break
done
[[ $answer == *" lines" ]] || fail "the program is not asked: '$answer'"
finish
grep -qx 12345678 "$work/flushed" || fail "bytes are lost at a stop"
leave one

# ---- tls_echo ----
if [ -x "$bin/tls_echo" ]; then
    certs=$work/certs
    run tls_echo 127.0.0.1:0 --certs "$certs" --alpn echo
    # -quiet ends with the server and not with the input, so the input stays open and the client is killed here.
    s_client() { openssl s_client -connect "127.0.0.1:$port" -CAfile "$certs/ca.pem" -verify_return_error "$@"; }
    open tls openssl s_client -connect "127.0.0.1:$port" -CAfile "$certs/ca.pem" -verify_return_error -quiet
    say tls "over tls"
    hear tls "over tls"
    leave tls
    # There is no pipe: with `pipefail` a grep that stops at its match would fail the client.
    for file in server other client; do
        openssl verify -x509_strict -CAfile "$certs/ca.pem" "$certs/$file.pem" >/dev/null 2>&1 ||
            fail "a strict client refuses $file.pem"
    done
    s_client -servername other.test -alpn echo </dev/null >"$work/other" 2>&1 || fail "openssl does not connect"
    grep -q 'ALPN protocol: echo' "$work/other" || fail "no application protocol"
    openssl x509 -noout -ext subjectAltName -in "$work/other" | has other.test || fail "the wrong certificate"
    if s_client -alpn something-else </dev/null >/dev/null 2>&1; then fail "a protocol that is not served is accepted"; fi
    kill -TERM "$server"
    within 20 has_ended "$server" || fail "does not stop"
    echo "ok: tls_echo"
fi

# ---- smtp_sink ----
if [ -x "$bin/smtp_sink" ]; then
    run smtp_sink 127.0.0.1:0 --require-tls --certs "$work/smtp"
    printf 'Subject: one\r\n\r\n.a line that begins with a dot\r\nand another\r\n' >"$work/mail"
    mail() {
        curl -sS --max-time 20 --cacert "$work/smtp/server.pem" "smtp://localhost:$port" --mail-from from@example.com \
            --mail-rcpt one@example.com --mail-rcpt two@example.com --upload-file "$work/mail" "$@"
    }
    mail --ssl-reqd >"$work/curl" 2>&1 || fail "curl does not send its mail: $(cat "$work/curl")"
    within 10 grep -qx 'mail from "from@example.com" to 2, 61 bytes, TLS' "$work/smtp_sink.out" || fail "no mail came"
    if mail >/dev/null 2>&1; then fail "a mail is taken in plain text"; fi
    open smtp openssl s_client -starttls smtp -connect "127.0.0.1:$port" -CAfile "$work/smtp/server.pem" \
        -verify_return_error -quiet -crlf
    say smtp "EHLO again"
    hear smtp "250-localhost*"
    hear smtp "250-PIPELINING*"
    hear smtp "250 SIZE*"
    say smtp "STARTTLS"
    hear smtp "503 TLS is on*"
    say smtp "QUIT"
    hear smtp "221 *"
    leave smtp
    # Commands behind STARTTLS that were not encrypted (CVE-2011-0411): the connection ends without an answer to them.
    { printf 'EHLO me\r\nSTARTTLS\r\nMAIL FROM:<evil@example.com>\r\nNOOP\r\n'; sleep 1; } |
        timeout 10 nc 127.0.0.1 "$port" >"$work/injected" || true
    grep -q '^220 go ahead' "$work/injected" || fail "no answer to STARTTLS"
    if sed '1,/go ahead/d' "$work/injected" | has -a '^[0-9][0-9][0-9] '; then fail "plain text is taken behind STARTTLS"; fi
    if grep -q evil "$work/smtp_sink.out"; then fail "plain text is taken behind STARTTLS"; fi
    finish
fi

# ---- cluster ----
if [ -x "$bin/cluster" ]; then
    broker=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    example=cluster
    : >"$work/cluster.out"
    nats-server -a 127.0.0.1 -p "$broker" >"$work/nats-server.out" 2>&1 &
    started+=("$!")
    declare -A copy
    for name in one two three; do
        "$bin/cluster" serve "127.0.0.1:$broker" "$name" >"$work/cluster.$name" 2>&1 &
        copy[$name]=$!
        started+=("$!")
        within 10 grep -q "^$name serves$" "$work/cluster.$name" || fail "$name does not serve"
    done
    open store "$bin/cluster" client "127.0.0.1:$broker"
    say store "put color blue"
    hear store "*: blue"
    # Every copy has it: whatever ends, it is there, and so is what is put while they end.
    for round in 1 2 3 4 5 6; do
        say store "get color"
        hear store "*: blue"
    done
    end_copy() { kill -KILL "${copy[$1]}" && wait "${copy[$1]}" 2>/dev/null || true; }
    end_copy one
    for round in 1 2 3 4 5 6; do
        say store "put round $round"
        hear store "t*: $round"
    done
    end_copy three
    say store "get color"
    hear store "two: blue"
    # A new copy begins with what the others have.
    "$bin/cluster" serve "127.0.0.1:$broker" four >"$work/cluster.four" 2>&1 &
    started+=("$!")
    within 10 grep -q "^four serves$" "$work/cluster.four" || fail "four does not serve"
    end_copy two
    say store "get round"
    hear store "four: 6"
    leave store
    echo "ok: cluster"
fi

run http 127.0.0.1:0
get() { curl -sS --max-time 20 "$@"; }
[ "$(get "http://$address/")" = "Hello, world!" ] || fail "GET"
get -I "http://$address/" | has -i '^content-length: 14' || fail "HEAD"
head -c 1000000 /dev/urandom >"$work/body"
get --data-binary "@$work/body" "http://$address/" | cmp -s - "$work/body" || fail "POST of 1,000,000 bytes"
get -H 'Expect: 100-continue' --data-binary "@$work/body" "http://$address/" | cmp -s - "$work/body" || fail "POST that waits for 100"
# Several requests on one connection.
get -v "http://$address/" "http://$address/" "http://$address/" 2>&1 >/dev/null | grep -c 'Re-using\|Reusing' | has -x 2 || fail "keep-alive"
status() { get -o "$work/refused" -w '%{http_code}' "$@"; }
head -c 2000000 /dev/zero >"$work/large"
[ "$(status -H 'Expect:' --data-binary "@$work/large" "http://$address/" || true)" = 413 ] || fail "no 413"
[ "$(status -X DELETE "http://$address/")" = 405 ] || fail "no 405"
[ "$(status -H "x: $(printf 'x%.0s' $(seq 9000))" "http://$address/" || true)" = 431 ] || fail "no 431"
printf 'nonsense\r\n\r\n' | nc -N -w 5 127.0.0.1 "$port" | sed -n 1p | has '^HTTP/1.1 400' || fail "no 400"
# Pipelined, and the client ends its side behind the last request.
pipelined=$(for request in 1 2 3; do printf 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%s\n' "$request"; done | nc -N -w 5 127.0.0.1 "$port" | grep -c '^[123]$')
[ "$pipelined" = 3 ] || fail "pipelined requests: $pipelined answers"
# answers PATTERN REQUEST LINE AND HEADERS...: a line of the answer to a request that is written by hand.
answers_with() {
    printf '%s\r\n' "${@:2}" '' | timeout 10 nc -N -w 5 127.0.0.1 "$port" | tr -d '\r' | has -ix "$1" || fail "no '$1' for: ${*:2}"
}
answers_with 'HTTP/1.1 400 .*' 'GET / HTTP/1.1'
answers_with 'HTTP/1.1 400 .*' 'GET / HTTP/1.1' 'Host: a' 'Host: b'
answers_with 'Connection: close' 'GET / HTTP/1.1' 'Host: a' 'Connection: TE, close'
answers_with 'Connection: close' 'GET / HTTP/1.1' 'Host: a' 'Connection: close' 'Connection: keep-alive'
answers_with 'Connection: close' 'GET / HTTP/1.0'
answers_with 'Connection: keep-alive' 'GET / HTTP/1.0' 'Connection: Keep-Alive'
answers_with 'Allow: GET, HEAD, POST' 'PUT / HTTP/1.1' 'Host: a'
mapfile -t fields < <(for number in $(seq 65); do echo "X$number: x"; done)
answers_with 'HTTP/1.1 431 .*' 'GET / HTTP/1.1' 'Host: a' "${fields[@]}"
finish

# ---- simulation ----
example=simulation
LONGSHORE_SEEDS=0..200 timeout 60 "$bin/simulation" >"$work/simulation.out" 2>&1 || fail "a seed fails"
grep -q '^every seed holds$' "$work/simulation.out" || fail "does not come to its end"
echo "ok: $example"

# ---- proxy ----
"$bin/http" 127.0.0.1:0 >"$work/upstream.out" 2>&1 &
started+=("$!")
within 10 test -s "$work/upstream.out" || fail "no upstream"
upstream=$(head -n 1 "$work/upstream.out")
run proxy 127.0.0.1:0
for proxy in "socks5://$address" "socks5h://$address" "http://$address"; do
    through() { get --proxy "$proxy" --proxytunnel "$@"; }
    [ "$(through "http://$upstream/")" = "Hello, world!" ] || fail "GET through $proxy"
    through --data-binary "@$work/body" "http://$upstream/" | cmp -s - "$work/body" || fail "POST through $proxy"
    if through "http://127.0.0.1:1/" 2>/dev/null; then fail "a target that refuses is connected by $proxy"; fi
done
get --proxy "socks5h://$address" "http://localhost:${upstream##*:}/" | has Hello || fail "a name through socks5h"
printf 'GET / HTTP/1.1\r\n\r\n' | nc -N -w 5 127.0.0.1 "$port" | sed -n 1p | has '^HTTP/1.1 400' || fail "no 400"
# A client that cannot do without authentication, and another version.
printf '\005\001\002' | nc -N -w 5 127.0.0.1 "$port" | od -An -tx1 | has -x ' 05 ff' || fail "a method that was not offered is chosen"
printf '\004\001\000\120\177\000\000\001\000' | nc -w 5 127.0.0.1 "$port" | has '^HTTP/1.1 400' || fail "SOCKS4 is not refused at once"
printf '\005\001\000\004\001' | nc -w 5 127.0.0.1 "$port" | od -An -tx1 | has '^ 05 00 05 07' || fail "a change of the version is not refused"
# 100 MB past a reader that stops for a while. The source ends behind the last byte, and what arrives is compared.
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
head -c 100000000 /dev/urandom >"$work/much"
socat -u "OPEN:$work/much" "TCP-LISTEN:$free,bind=127.0.0.1" 2>/dev/null &
started+=("$!")
listens() { [ -n "$(ss -Hltn "sport = :$free")" ]; }
within 10 listens || fail "socat does not listen"
finish
rm "$work/proxy.out"
run proxy 127.0.0.1:0 --to "127.0.0.1:$free"
timeout 60 nc -d 127.0.0.1 "$port" | { sleep 2; cat; } | cmp - "$work/much" || fail "100 MB past a reader that stops"
finish
rm "$work/proxy.out"
# An upstream that writes down what comes first.
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
socat -u "TCP-LISTEN:$free,bind=127.0.0.1,reuseaddr" "CREATE:$work/header" 2>/dev/null &
started+=("$!")
within 10 listens || fail "socat does not listen"
run proxy 127.0.0.1:0 --to "127.0.0.1:$free" --proxy-header
printf 'behind the header' | timeout 20 nc -N 127.0.0.1 "$port"
has_header() {
    local pattern="^PROXY TCP4 127.0.0.1 127.0.0.1 [0-9]+ $port behind the header$"
    [[ $(tr -d '\r' <"$work/header" | tr '\n' ' ') =~ $pattern ]]
}
within 10 has_header || fail "no header of the PROXY protocol"
finish

# ---- observer ----

run observer 127.0.0.1:0 --crash-every 3
get "http://$address/metrics" | has '^longshore_processes ' || fail "no metrics"
get "http://$address/dump" | has '^== supervisors' || fail "no dump"
# A page elsewhere must not read it through a name that it controls.
get -o "$work/refused" -w '%{http_code}' -H 'Host: evil.example' "http://$address/" >"$work/status" || true
[ "$(cat "$work/status")" = 400 ] || fail "answers to another host"
examples/observer/check.py "$address" || fail "the page"
finish
