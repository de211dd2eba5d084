#!/bin/sh
# Makes the secrets that deploy/compose.yaml mounts, in deploy/secrets/. Existing ones are kept.
#
#     deploy/image/make-secrets.sh [directory]
#
# Only the owner can enter the directory. Everybody may read the files in it, since the containers run as other users.
set -eu
directory=${1:-$(dirname "$0")/../secrets}
mkdir -p "$directory"
chmod 700 "$directory"
cd "$directory"
echo '*' >.gitignore

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Writes to $1.part first. So an interrupted run leaves no half-written secret, and the next run makes it.
keep() {
    if [ ! -s "$1" ]; then
        cat >"$1.part"
        if [ ! -s "$1.part" ]; then
            echo "hookline: $1 could not be made." >&2
            exit 1
        fi
        chmod 444 "$1.part"
        mv -f "$1.part" "$1"
    fi
}

for name in SECRET_KEY GITHUB_WEBHOOK_SECRETS HOOKLINE_OPERATOR_PASSWORD POSTGRES_PASSWORD BROKER_PASSWORD; do
    random | keep $name
done
# A key of Fernet: 32 bytes in URL-safe Base64.
head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' | keep HOOKLINE_ENCRYPTION_KEYS
head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' | keep HOOKLINE_DESTINATION_KEYS
password=$(cat BROKER_PASSWORD)
printf 'postgres://hookline:%s@database/hookline' "$(cat POSTGRES_PASSWORD)" | keep DATABASE_URL
printf 'amqp://hookline:%s@broker//' "$password" | keep BROKER_URL
printf 'default_user = hookline\ndefault_pass = %s\n' "$password" | keep rabbitmq.conf
printf 'redis://:%s@broker/0' "$password" | keep BROKER_URL.redis
# Redis writes nothing to disk: the relay publishes again the messages that a stop of Redis loses.
printf 'requirepass %s\nsave ""\nmaxmemory-policy noeviction\n' "$password" | keep redis.conf
