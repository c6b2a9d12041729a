#!/usr/bin/env bash
# Hand a study to a running cluster: bash job.sh FOLDER STUDY.toml RESULTS [options of `clsweep run`]
#
# FOLDER holds the study file, named relative to it, and the code of its custom networks, if any;
# it is copied to the cluster. RESULTS is an absolute path that all nodes share, or a URI. The
# head runs with DASHBOARD=1 and answers on its own machine alone; from elsewhere, first
#   ssh -N -L 8265:127.0.0.1:8265 HEAD
set -euo pipefail
folder=$1 study=$2 out=$3
shift 3
if [[ $out != /* && $out != *://* ]]; then
    echo "$out: relative to a temporary folder on the head, which Ray deletes; name it in full" >&2
    exit 2
fi

export RAY_AUTH_MODE=token        # the token is in ~/.ray/auth_token, or in RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0  # nothing is sent to anybody

ray job submit --address="${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" \
    --working-dir="$folder" -- clsweep run "$study" --address auto --out "$out" "$@"
