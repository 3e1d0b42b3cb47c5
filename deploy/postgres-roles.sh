#!/bin/sh
# Create the role that owns the tables, the role of the running service, and their database.
# Run it once, as a superuser of the server (psql's own PG* variables say where). Names and
# passwords are those of the two addresses that Tokenward itself is given.
set -eu

# part user|password|database ADDRESS, an address being postgres://user:password@host:port/database
part() {
    rest=${2#*://}
    credentials=${rest%%@*}
    case $1 in
    user) value=${credentials%%:*} ;;
    password) value=${credentials#*:} ;;
    database) value=${rest##*/} ;;
    esac
    case $value in
    '' | *[!A-Za-z0-9_]*)
        echo "Use letters, digits and _ only for the $1 in TOKENWARD_DATABASE_URL and" \
            "TOKENWARD_DATABASE_OWNER_URL. \`openssl rand -hex 24\` makes a password." >&2
        return 1
        ;;
    esac
    echo "$value"
}

owner=$(part user "$TOKENWARD_DATABASE_OWNER_URL")
owner_password=$(part password "$TOKENWARD_DATABASE_OWNER_URL")
application=$(part user "$TOKENWARD_DATABASE_URL")
application_password=$(part password "$TOKENWARD_DATABASE_URL")
database=$(part database "$TOKENWARD_DATABASE_URL")

# By stdin, because everybody on the machine can read a command line.
# NOBYPASSRLS: row-level security is the second wall between tenants. It does not hold for the
# owner of the tables, so the service never runs as that role.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" \
    --dbname postgres <<SQL
CREATE ROLE "$owner" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE
    PASSWORD '$owner_password';
CREATE ROLE "$application" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE
    PASSWORD '$application_password';
CREATE DATABASE "$database" OWNER "$owner";
REVOKE ALL ON DATABASE "$database" FROM PUBLIC;
GRANT CONNECT ON DATABASE "$database" TO "$application";
SQL
