// Shows the faces that the page holds: a head that turns, its expression shapes as sliders, light, wireframe, photo and numbers.
// In: the JSON of element `faces`, and three.js as THREE. Nothing is fetched: the page's policy forbids it.
"use strict";
(function () {
  const faces = JSON.parse(document.getElementById("faces").textContent);
  const at = function (id) { return document.getElementById(id); };
  const canvas = at("canvas"), said = at("said");

  const renderer = new THREE.WebGLRenderer({ canvas: canvas, antialias: true, alpha: true });
  const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(25, 1, 0.01, 20);
  const controls = new THREE.OrbitControls(camera, canvas);
  const lamp = new THREE.DirectionalLight(0xffffff), ambient = new THREE.HemisphereLight(0xffffff, 0xb0a8a0);
  scene.add(lamp, ambient);
  const loader = new THREE.GLTFLoader();
  let meshes = [], head = null, fitted = {}, waiting = false, middle = new THREE.Vector3(), radius = 0.15;

  function bytes(base64) {
    const text = atob(base64), array = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) { array[i] = text.charCodeAt(i); }
    return array.buffer;
  }

  function draw() {           // once a frame at most, and only where something changed
    if (waiting) { return; }
    waiting = true;
    requestAnimationFrame(function () { waiting = false; renderer.render(scene, camera); });
  }

  function resize() {
    const width = at("stage").clientWidth, height = at("stage").clientHeight;
    renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    renderer.setSize(width, height, false);
    camera.aspect = width / Math.max(height, 1);
    camera.updateProjectionMatrix();
    draw();
  }

  function turn(degrees) {    // of the camera about the head; 0 is in front
    const angle = degrees * Math.PI / 180, far = radius / Math.sin(camera.fov * Math.PI / 360) * Math.max(1, 0.8 / camera.aspect);
    camera.position.set(middle.x + far * Math.sin(angle), middle.y, middle.z + far * Math.cos(angle));
    controls.target.copy(middle);
    controls.update();
    draw();
  }

  function light() {
    const azimuth = at("azimuth").value * Math.PI / 180, elevation = at("elevation").value * Math.PI / 180;
    lamp.position.set(Math.sin(azimuth) * Math.cos(elevation), Math.sin(elevation), Math.cos(azimuth) * Math.cos(elevation));
    lamp.intensity = Number(at("lamp").value);
    ambient.intensity = Number(at("ambient").value);
    draw();
  }

  function say(slider) {
    const output = slider.parentElement.querySelector("output");
    output.value = Number(slider.step) >= 1 ? slider.value + "\u00b0" : Number(slider.value).toFixed(2);
  }

  function weigh(name, value) {
    meshes.forEach(function (mesh) {
      const place = (mesh.morphTargetDictionary || {})[name];
      if (place !== undefined) { mesh.morphTargetInfluences[place] = value; }
    });
  }

  function pose(weights) {    // sets every slider; shapes without a weight are at rest
    at("sliders").querySelectorAll("input").forEach(function (slider) {
      slider.value = weights[slider.name] || 0;
      say(slider);
      weigh(slider.name, Number(slider.value));
    });
    draw();
  }

  function makeSliders() {
    const names = Object.keys(fitted).sort();
    at("sliders").replaceChildren.apply(at("sliders"), names.map(function (name) {
      const label = document.createElement("label"), text = document.createElement("span");
      const slider = document.createElement("input"), output = document.createElement("output");
      label.className = "slider"; text.textContent = name; text.title = name;
      slider.type = "range"; slider.name = name; slider.min = Math.min(0, Math.floor(fitted[name]));
      slider.max = Math.max(1, Math.ceil(fitted[name])); slider.step = 0.01;
      slider.addEventListener("input", function () { say(slider); weigh(name, Number(slider.value)); draw(); });
      label.append(text, slider, output);
      return label;
    }));
    find();
  }

  function find() {
    const wanted = at("words").value.toLowerCase();
    at("sliders").childNodes.forEach(function (label) { label.hidden = !label.firstChild.textContent.toLowerCase().includes(wanted); });
  }

  function dress() {          // wireframe, and skin or clay
    meshes.forEach(function (mesh) {
      const material = mesh.material, bare = !at("texture").checked;
      if (mesh.userData.map === undefined) {
        mesh.userData.map = material.map;
        mesh.userData.colour = material.color.clone();
        mesh.userData.painted = material.vertexColors;
      }
      material.map = bare ? null : mesh.userData.map;
      material.vertexColors = !bare && mesh.userData.painted;
      material.color.copy(mesh.userData.colour);
      if (bare) { material.color.setScalar(0.6); }
      material.wireframe = at("wireframe").checked;
      material.needsUpdate = true;
    });
    draw();
  }

  function tell(face) {
    at("name").textContent = face.name;
    document.title = face.name;
    at("numbers").replaceChildren.apply(at("numbers"), face.numbers.flatMap(function (pair) {
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = pair[0]; value.textContent = pair[1];
      return [term, value];
    }));
    at("photo-part").hidden = !face.overlay;
    if (face.overlay) {
      at("picture").src = face.photo || face.overlay;
      at("overlay").src = face.overlay;
      at("opacity").parentElement.hidden = !face.photo;
      at("overlay").style.opacity = face.photo ? at("opacity").value : 1;
    }
  }

  function show(number) {
    const face = faces[number];
    tell(face);
    loader.parse(bytes(face.glb), "", function (file) {
      if (head !== null) { scene.remove(head); }
      head = file.scene;
      meshes = []; fitted = {};
      head.traverse(function (mesh) {
        if (!mesh.isMesh) { return; }
        meshes.push(mesh);
        Object.entries(mesh.morphTargetDictionary || {}).forEach(function (entry) {
          fitted[entry[0]] = mesh.morphTargetInfluences[entry[1]];
        });
      });
      scene.add(head);
      const box = new THREE.Box3().setFromObject(head);
      box.getCenter(middle);
      radius = box.getSize(new THREE.Vector3()).y * 0.58;
      makeSliders();
      pose(fitted);
      dress();
      turn(0);
      said.textContent = "Drag to turn, scroll to come nearer.";
      document.body.dataset.ready = face.name;
    }, function (error) { said.textContent = "This head cannot be shown: " + error.message; });
  }

  faces.forEach(function (face, number) {
    const option = document.createElement("option");
    option.value = number; option.textContent = face.name;
    at("result").append(option);
  });
  at("choice").hidden = faces.length < 2;
  at("result").addEventListener("change", function () { show(Number(at("result").value)); });
  at("front").addEventListener("click", function () { turn(0); });
  at("left").addEventListener("click", function () { turn(-75); });
  at("right").addEventListener("click", function () { turn(75); });
  at("fitted").addEventListener("click", function () { pose(fitted); });
  at("neutral").addEventListener("click", function () { pose({}); });
  at("words").addEventListener("input", find);
  ["wireframe", "texture"].forEach(function (id) { at(id).addEventListener("change", dress); });
  ["azimuth", "elevation", "lamp", "ambient"].forEach(function (id) {
    at(id).addEventListener("input", function () { say(at(id)); light(); });
    say(at(id));
  });
  at("opacity").addEventListener("input", function () { say(at("opacity")); at("overlay").style.opacity = at("opacity").value; });
  say(at("opacity"));
  canvas.addEventListener("keydown", function (event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      turn(Math.atan2(camera.position.x - middle.x, camera.position.z - middle.z) * 180 / Math.PI + 15 * step);
      event.preventDefault();
    }
  });
  controls.addEventListener("change", draw);
  new ResizeObserver(resize).observe(at("stage"));
  window.fitkit = { scene: scene, camera: camera, renderer: renderer, meshes: function () { return meshes; } };     // for the curious, and tests
  light();
  resize();
  show(0);
}());
