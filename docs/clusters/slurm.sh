#!/usr/bin/env bash
# A study on several Slurm nodes: sbatch slurm.sh STUDY.toml RESULTS [options of `clsweep run`]
#
# Not run under Slurm itself. Run instead: the whole script on two machines, with stand-ins for
# `srun`, `scontrol` and `squeue`; SIGTERM to this shell in the middle, then the same command again.
#
#SBATCH --job-name=clsweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
study=$1 out=$2
shift 2

export RAY_AUTH_MODE=token        # nobody without the token may run code here
export RAY_USAGE_STATS_ENABLED=0  # nothing is sent to anybody
export OMP_NUM_THREADS=1          # one thread per trial, one trial per core
# Seconds until all nodes are there; 30 are few where Python comes from a shared disk.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}

# All nodes see the same home folder, so the token is made once, readable by its owner alone.
token=$HOME/.ray/auth_token
if [[ ! -s $token ]]; then
    (umask 077 && ray get-auth-token --generate > /dev/null)
fi
chmod 600 "$token"

# The head is the node of this script: only there can the script reach clsweep's process. A name
# that means 127.0.1.1 to its own node would give a cluster without a head.
head=$(getent ahostsv4 "$SLURMD_NODENAME" | sed -n '/^127\./!{s/ .*//p;q}')
if [[ -z $head ]]; then
    echo "$SLURMD_NODENAME has no address in the network of the nodes" >&2
    exit 2
fi

# Slurm signals this shell alone (B:), Ray passes no signal on, so clsweep says who it is.
driver=$(mktemp)
stop() {
    local pid
    pid=$(< "$driver")
    kill -TERM "${pid:-$step}"
}
trap stop TERM

# Every node runs this; only the head knows the option, and only it runs clsweep.
node() {
    local options=(--num-cpus="$SLURM_CPUS_PER_TASK")
    if [[ $SLURMD_NODENAME == "$head_node" ]]; then
        options+=(--include-dashboard=false)
    fi
    exec ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_NNODES" "${options[@]}" -- \
        bash -c 'echo $$ > "$0" && exec "$@"' "$driver" "$@"
}
export -f node
export driver head head_node=$SLURMD_NODENAME

srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    bash -c 'node "$@"' - clsweep run "$study" --address "$head:6379" --out "$out" "$@" &
step=$!

while true; do  # a signal ends `wait` before the step has ended
    code=0
    wait "$step" || code=$?
    kill -0 "$step" 2> /dev/null || break
done
rm -f "$driver"

# Stopped for lack of time: the same job goes on in the next slot, unless it was cancelled.
if ((code == 143)) && [[ $(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) == RUNNING ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
