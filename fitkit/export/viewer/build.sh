#!/usr/bin/env bash
# Makes three.js of this folder from the npm packages that three.md names: Node is needed for this alone, never for use.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cd "$place"
npm init -y >/dev/null
npm install --silent three@0.187.0 esbuild@0.28.2
grep -q "sha512-Qiu7R+Cmh8CstZsY1uJOSWnVlfo7ZtNLV7mF8Jltk3LB3AtDu9cRZlcnRKkAk8Y4z6KKw35z7Y7Urd7jWY8etA==" package-lock.json
cat > entry.js <<'JS'
export { DirectionalLight, HemisphereLight, PerspectiveCamera, Scene, Vector3, Box3, WebGLRenderer } from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
JS
npx esbuild entry.js --bundle --minify --format=iife --global-name=THREE --legal-comments=none \
    --banner:js="/* three.js 0.187.0, copyright 2010-2026 three.js authors, MIT licence: see three-LICENSE.txt */" \
    --outfile="$here/three.js"
cp node_modules/three/LICENSE "$here/three-LICENSE.txt"
