#!/usr/bin/env bash
# Install a Vulkan driver in software (Mesa's llvmpipe), so that LiteRT's GPU delegate can be tested
# on a machine without a GPU. Needs apt and the right to use it; changes nothing if it is there.
#
# LiteRT's accelerator wants Mesa 25 (it refuses 22.3: "shaderUniform*ArrayDynamicIndexing
# required"). Debian 12 has 22.3, so there it comes from the backports suite of the mirror that apt
# already uses; Debian 13 and Ubuntu 24.04 and later have it in their own.
set -euo pipefail

packages=(mesa-vulkan-drivers libvulkan1)
list=/etc/apt/sources.list.d/debian.sources
driver=/usr/share/vulkan/icd.d/lvp_icd
suite=()

newest() { # the version of the driver that is installed, "" without one
  dpkg-query --showformat='${Version}' --show mesa-vulkan-drivers 2>/dev/null || true
}

if compgen -G "$driver*.json" >/dev/null && dpkg --compare-versions "$(newest)" ge 25; then
  echo "llvmpipe of Mesa $(newest) is installed."
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "This script knows apt only; install Mesa's Vulkan drivers (25 or newer) in your own way." >&2
  exit 2
fi

# shellcheck disable=SC1091
. /etc/os-release
if [[ ${VERSION_CODENAME:-} == bookworm && -f $list ]]; then
  # The paragraphs of the list without the security archive, for the backports suite instead.
  awk 'BEGIN { RS = ""; ORS = "\n\n" } !/security/' "$list" |
    sed 's/^Suites:.*/Suites: bookworm-backports/' >/etc/apt/sources.list.d/backports.sources
  suite=(--target-release bookworm-backports)
fi
apt-get update --quiet=2
apt-get install --yes --quiet=2 --no-install-recommends ${suite[@]+"${suite[@]}"} "${packages[@]}"
echo "llvmpipe of Mesa $(newest) is installed."
