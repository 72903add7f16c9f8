#!/usr/bin/env bash
# Starts the MLflow server with logins and the leaderboard. Passwords come from files, so that no command line, image or compose file
# holds them:
#
#   SECRETS/postgres_password    of the database's user
#   SECRETS/admin_password       of MLflow's administrator, read when the database is new
#   SECRETS/flask_secret_key     signs forms; the same for as long as the server lives
#
# Settings from the environment: SECRETS (default /run/secrets), POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_DB,
# ARTIFACTS (such as s3://bucket/mlflow), MLFLOW_HOST, MLFLOW_PORT, ADMIN_USER, FAIRSWEEP_CACHE (the folder of what the leaderboard has
# computed). The credentials of the bucket are boto3's, such as
# AWS_SHARED_CREDENTIALS_FILE; clients need none, since the server passes artifacts on.
set -euo pipefail
umask 077

secret() {
  local file="${SECRETS:-/run/secrets}/$1"
  if [[ ! -s $file ]]; then
    echo "start.sh: the secret $file is missing or empty. Fix: write it, readable by uid $(id -u) alone" >&2
    exit 2
  fi
  tr -d '\r\n' <"$file"
}
quoted() { python -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.stdin.read(), safe=""), end="")'; }

: "${ARTIFACTS:?start.sh: ARTIFACTS is not set. Fix: name the bucket for artifacts, such as s3://bucket/mlflow}"
password=$(secret postgres_password | quoted)
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret flask_secret_key)
MLFLOW_BACKEND_STORE_URI="postgresql://${POSTGRES_USER:-mlflow}:$password@${POSTGRES_HOST:-postgres}:${POSTGRES_PORT:-5432}/${POSTGRES_DB:-mlflow}"
MLFLOW_AUTH_CONFIG_PATH=$(mktemp -t mlflow-auth-XXXXXX.ini)
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_BACKEND_STORE_URI MLFLOW_AUTH_CONFIG_PATH
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

# % begins an interpolation in this kind of file. Without the cache every request hashes the password anew: 2 trials a second, not 13.
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
admin_username = ${ADMIN_USER:-admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 300
INI

# One worker: several race on the migration of a new database, take four times the memory, and know nothing of each other's login cache.
exec mlflow server --app-name fairsweep-auth --host "${MLFLOW_HOST:-127.0.0.1}" --port "${MLFLOW_PORT:-5000}" --workers 1 \
  --serve-artifacts --artifacts-destination "$ARTIFACTS"
