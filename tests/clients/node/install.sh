# Installs the clients that folder $1 names into folder $2. Then there is $2.stamp; or, if this
# machine cannot have them, $2.missing, which says why.
set -eu
folder=$1 target=$2

missing() {
    rm -f "$target.stamp"
    echo "$1" | tee "$target.missing"
    exit 0
}

mkdir -p "$target"
command -v node >/dev/null && command -v npm >/dev/null || missing "node or npm is not installed"
node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' || missing "node is older than 18"
# One short try: of three hundred packages npm would wait for each.
npm view analytics-node@6.2.0 version --fetch-retries=0 --fetch-timeout=20000 >"$target.log" 2>&1 ||
    missing "npm's registry cannot be reached"
cp "$folder/package.json" "$folder/package-lock.json" "$target"
if ! npm ci --prefix "$target" --ignore-scripts --no-audit --no-fund >"$target.log" 2>&1; then
    # What goes wrong on the way is not this project's; a wrong lock is.
    grep -Eq 'code (E(AI_AGAIN|NOTFOUND|CONN[A-Z]+|TIMEDOUT|5[0-9][0-9])|ERR_SOCKET_TIMEOUT)$' "$target.log" &&
        missing "npm's registry cannot be reached"
    cat "$target.log"
    exit 1
fi
rm -f "$target.missing"
touch "$target.stamp"
