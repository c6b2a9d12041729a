#!/usr/bin/env bash
# Every further machine of a Ray cluster: HEAD=ADDRESS:PORT bash worker.sh [options of `ray start`]
#
# HEAD is HEAD_IP of head.sh and its port. The token of the first machine has to be here already:
#   ssh worker 'umask 077 && mkdir -p ~/.ray && cat > ~/.ray/auth_token' < ~/.ray/auth_token
set -euo pipefail
: "${HEAD:?set HEAD to the address and port of the first machine, such as 192.0.2.1:6379}"

export RAY_AUTH_MODE=token        # nobody without the token may run code here
export RAY_USAGE_STATS_ENABLED=0  # nothing is sent to anybody
export OMP_NUM_THREADS=1          # one thread per trial, one trial per core

token=$HOME/.ray/auth_token
if [[ ! -s $token ]]; then
    echo "there is no token in $token: copy it from the first machine (see above in $0)" >&2
    exit 2
fi
chmod 600 "$token"

ray start --address="$HEAD" "$@"
