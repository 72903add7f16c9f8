#!/usr/bin/env bash
#SBATCH --job-name=fairsweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --output=%x-%j.log

# Runs a sweep on the nodes of a Slurm job: a Ray cluster of its own, with a token of its own, from the start of the job to its end.
#
#   sbatch --nodes=4 cluster/deploy/slurm.sh SWEEP.yaml --storage /shared/sweeps --tracking-uri http://mlflow:5000
#
# What follows the script's name is passed on to `fairsweep run`. Five minutes before the time limit (--signal above) the driver saves and
# ends with 130; the same command again continues the sweep. To stop it earlier: scancel --batch --signal=TERM JOB.
#
# Settings, all optional, from the environment:
#   FAIRSWEEP_ENV_FILE     file of NAME=VALUE lines, yours alone (chmod 600), read here: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, ...
#   FAIRSWEEP_HEAD_IP      address of the first node on the network that the nodes share (default: what its name stands for)
#   FAIRSWEEP_SHARED       folder that all nodes mount, for the token (default: ~/.fairsweep)
#   FAIRSWEEP_REQUEUE=1    have Slurm queue the job again when the time limit ended it
set -euo pipefail
umask 077

if (($# == 0)); then
  echo "slurm.sh: no sweep file given. Fix: sbatch slurm.sh SWEEP.yaml --storage PATH --tracking-uri URL" >&2
  exit 2
fi
if [[ -n ${FAIRSWEEP_ENV_FILE:-} ]]; then
  set -a
  # shellcheck source=/dev/null
  . "$FAIRSWEEP_ENV_FILE"
  set +a
fi

shared=${FAIRSWEEP_SHARED:-$HOME/.fairsweep}/slurm-$SLURM_JOB_ID
temporary=/tmp/fairsweep-$SLURM_JOB_ID # on every node; short, since the path of a Unix socket has at most 107 characters
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
workers=$((${#nodes[@]} - 1))
# Several jobs may share a node: ports that nobody has to know are chosen by the system, below.
port=$((20000 + SLURM_JOB_ID % 5000 * 2))
steps=()
driver=
stopped=

# The token goes to the nodes in a file: a command line or Slurm's record of the environment would show it.
mkdir -p "$shared"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$shared/token RAY_USAGE_STATS_ENABLED=0
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"

# shellcheck disable=SC2317  # called by the traps below
finish() {
  for step in "${steps[@]}"; do kill -TERM "$step" 2>/dev/null || true; done
  for step in "${steps[@]}"; do wait "$step" 2>/dev/null || true; done
  rm -rf "$shared"
}
# shellcheck disable=SC2317
stop() {
  stopped=1
  if [[ -n $driver ]]; then kill -TERM "$driver" 2>/dev/null || true; fi
}
trap finish EXIT
trap stop TERM INT

# Starts Ray on nodes, in a step of its own that lasts as long as Ray does. Each node listens on the address from which it reaches the
# first one, and offers the GPUs that Slurm gives the step.
start_ray() { # srun's options -- ray's options
  local options=()
  while [[ $1 != -- ]]; do options+=("$1") && shift; done
  shift
  # shellcheck disable=SC2016
  srun "${options[@]}" --ntasks-per-node=1 --overlap bash -c '
    own=$(python -c "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.connect((sys.argv[1], 9)); print(s.getsockname()[0])" "$0")
    exec ray start --node-ip-address="$own" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" "$@"' "$ip" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --temp-dir="$temporary" --disable-usage-stats --block \
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 "$@" >&2 &
  steps+=($!)
}

# Waits until a number of nodes have joined; fails when a step has ended, or after five minutes.
wait_for_nodes() {
  for ((attempt = 0; attempt < 100; attempt++)); do
    for step in "${steps[@]}"; do
      kill -0 "$step" 2>/dev/null || { echo "slurm.sh: Ray ended on a node; its output is above" >&2 && return 1; }
    done
    [[ -z $stopped ]] || return 130
    if python - "$address" "$1" <<'PYTHON' 2>/dev/null; then return 0; fi
import logging
import socket
import sys

host, _, port = sys.argv[1].rpartition(":")
socket.create_connection((host, int(port)), timeout=3).close()
import ray

ray.init(address=sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
sys.exit(sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]))
PYTHON
    sleep 2
  done
  echo "slurm.sh: not all nodes joined the Ray cluster at $address within five minutes. Fix: check FAIRSWEEP_HEAD_IP and the firewall" >&2
  return 1
}

ip=${FAIRSWEEP_HEAD_IP:-$(srun --nodes=1 --ntasks=1 --overlap --nodelist="${nodes[0]}" hostname --ip-address | awk '{ print $1; exit }')}
if [[ $ip == 127.* ]] && ((workers > 0)) && [[ -z ${FAIRSWEEP_HEAD_IP:-} ]]; then
  echo "slurm.sh: ${nodes[0]} stands for $ip on its own node, where no other node reaches it. Fix: set FAIRSWEEP_HEAD_IP" >&2
  exit 2
fi
address=$ip:$port
echo "slurm.sh: Ray on ${#nodes[@]} nodes, head ${nodes[0]} at $address" >&2
start_ray --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" -- \
  --head --port="$port" --include-dashboard=false --ray-client-server-port=$((port + 1))
wait_for_nodes 1 || exit
if ((workers > 0)); then
  start_ray --nodes="$workers" --ntasks="$workers" --exclude="${nodes[0]}" -- --address="$address"
  wait_for_nodes "${#nodes[@]}" || exit
fi

[[ -z $stopped ]] || exit 130
fairsweep run "$@" --address "$address" &
driver=$!
# A signal ends `wait`, not the driver; one that comes while the driver ends hides its status, which bash has kept.
wait "$driver" && status=0 || status=$?
while kill -0 "$driver" 2>/dev/null; do wait "$driver" && status=0 || status=$?; done
if [[ -n $stopped ]]; then
  wait "$driver" && kept=0 || kept=$?
  if ((kept != 127)); then status=$kept; fi
fi

if ((status == 130)); then
  echo "slurm.sh: the sweep is saved; the same command again continues it" >&2
  if [[ ${FAIRSWEEP_REQUEUE:-} == 1 ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
fi
exit "$status"
