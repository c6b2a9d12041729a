#!/usr/bin/env bash
# The first machine of a Ray cluster: HEAD_IP=ADDRESS bash head.sh [options of `ray start`]
#
# HEAD_IP is the address of this machine in the network that all machines of the cluster, and
# nobody else, can reach. Options are passed on, such as --num-cpus=8 or --num-gpus=2.
set -euo pipefail
: "${HEAD_IP:?set HEAD_IP to the address of this machine in the network of the cluster}"

export RAY_AUTH_MODE=token        # nobody without the token may run code here
export RAY_USAGE_STATS_ENABLED=0  # nothing is sent to anybody
export OMP_NUM_THREADS=1          # one thread per trial, one trial per core

# The token is made once, readable by its owner alone. Whoever has it can run code as you.
token=$HOME/.ray/auth_token
if [[ ! -s $token ]]; then
    (umask 077 && ray get-auth-token --generate > /dev/null)
fi
chmod 600 "$token"

# DASHBOARD=1 is for `ray job submit` (needs ray[default]): on this machine alone, port 8265.
ray start --head --node-ip-address="$HEAD_IP" --port="${PORT:-6379}" \
    --include-dashboard="$([[ ${DASHBOARD:-0} == 1 ]] && echo true || echo false)" \
    --dashboard-host=127.0.0.1 "$@"
