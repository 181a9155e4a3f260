"use strict";
const $ = (selector, within = document) => within.querySelector(selector);
const make = (tag, name = "", text = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== "") element.textContent = text;
  return element;
};
const svg = tag => document.createElementNS("http://www.w3.org/2000/svg", tag);
const pause = ms => new Promise(done => setTimeout(done, ms));
const at = seconds => new Date(seconds * 1000);
const clock = seconds => at(seconds).toLocaleTimeString([], { hour12: false });
const path = name => encodeURIComponent(name);

// Colours that differ for most eyes (Okabe and Ito, lightened), one for each class.
const COLOURS = ["#56b4e9", "#f5c400", "#e69f00", "#3ddc97", "#ff8a80", "#d7a6ff", "#9be7ff", "#c5e86c"];
const colours = new Map();
const colour = name => {
  if (!colours.has(name)) colours.set(name, COLOURS[colours.size % COLOURS.length]);
  return colours.get(name);
};

const span = seconds => {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
};

async function get(address, signal) {
  const answer = await fetch(address, { cache: "no-store", signal });
  // The key has changed.
  if (answer.status === 401) location.reload();
  return answer;
}

class Camera {
  constructor(name) {
    this.name = name;
    this.node = $("#camera").content.firstElementChild.cloneNode(true);
    this.stage = $(".stage", this.node);
    this.image = $("img", this.node);
    this.image.alt = `Picture of ${name}`;
    this.seen = null;
    this.frame = null;
    this.zones = [];
    this.size = null;
    // Corners of the zone being drawn, as shares of the picture; whether it is whole.
    this.corners = null;
    this.whole = false;
    this.visible = false;
    $("h2", this.node).textContent = name;
    new IntersectionObserver(entries => {
      this.visible = entries[entries.length - 1].isIntersecting;
      // The question that waits does not ask for this one.
      if (this.visible) question.abort();
    }).observe(this.node);
    const on = (selector, event, action) => $(selector, this.node).addEventListener(event, action);
    on(".show-boxes", "change", () => this.draw());
    on(".show-zones", "change", () => this.draw());
    on(".draw", "click", () => this.begin());
    on(".undo", "click", () => { this.corners.pop(); this.draw(); });
    on(".done", "click", () => this.finish());
    on(".cancel", "click", () => this.discard());
    on(".forget", "click", () => this.discard());
    on(".copy", "click", () => this.copy());
    on(".zone-name", "input", () => this.tell());
    this.stage.addEventListener("click", event => this.click(event));
  }

  update(state) {
    const chip = $(".state", this.node);
    chip.textContent = state.state;
    chip.dataset.state = state.state;
    const comes = ["starting", "running"].includes(state.state);
    $(".note", this.node).textContent = comes ? "Waiting for a picture" : `The camera is ${state.state}`;
    const facts = [`${state.fps.toFixed(1)} frames/s`];
    if (state.dropped) facts.push(`${state.dropped} dropped`);
    if (state.corrupt) facts.push(`${state.corrupt} corrupt`);
    $(".facts", this.node).textContent = facts.join(" · ");
    this.stage.classList.toggle("old", state.state !== "running");
    const zones = JSON.stringify(state.zones);
    if (zones !== this.zonesText) {
      this.zonesText = zones;
      this.zones = state.zones;
      this.draw();
    }
  }

  async show(frame, jpeg) {
    const address = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
    const before = this.image.src;
    this.image.src = address;
    await this.image.decode().catch(() => {});
    if (before) URL.revokeObjectURL(before);
    this.seen = frame.number;
    this.frame = frame;
    $(".note", this.node).hidden = true;
    this.stage.style.aspectRatio = `${frame.width} / ${frame.height}`;
    this.draw();
  }

  draw() {
    const marks = [], shapes = [];
    const label = (text, [x, y]) => {
      const node = make("div", "zone-label", text);
      node.style.left = `${100 * x}%`;
      node.style.top = `${100 * y}%`;
      marks.push(node);
    };
    const shape = (tag, points, name) => {
      const node = svg(tag);
      node.setAttribute("points", points.map(point => point.join(",")).join(" "));
      if (name) node.setAttribute("class", name);
      shapes.push(node);
    };
    if ($(".show-zones", this.node).checked) {
      for (const zone of this.zones) {
        const points = this.shares(zone.polygon);
        if (!points) continue;
        shape("polygon", points);
        label(zone.name, centre(points));
      }
    }
    if (this.frame && $(".show-boxes", this.node).checked) {
      const { width, height, objects, detections } = this.frame;
      // Objects that are followed say more than what was found in this one frame.
      for (const seen of objects.length ? objects : detections) {
        const [x1, y1, x2, y2] = seen.box;
        const node = make("div", "mark");
        node.classList.toggle("still", Boolean(seen.stationary));
        node.classList.toggle("low", y1 < 0.08 * height);
        node.classList.toggle("right", x1 > 0.75 * width);
        node.style.setProperty("--c", colour(seen.class));
        node.style.left = `${100 * x1 / width}%`;
        node.style.top = `${100 * y1 / height}%`;
        node.style.width = `${100 * (x2 - x1 + 1) / width}%`;
        node.style.height = `${100 * (y2 - y1 + 1) / height}%`;
        const id = seen.id === undefined || seen.id === null ? "" : ` ${seen.id}`;
        node.append(make("span", "", `${seen.class}${id} ${Number(seen.score).toFixed(2)}`));
        marks.push(node);
      }
    }
    if (this.corners) {
      shape(this.whole ? "polygon" : "polyline", this.corners, this.whole ? "new" : "");
      for (const [x, y] of this.corners) {
        const node = make("div", "corner");
        node.style.left = `${100 * x}%`;
        node.style.top = `${100 * y}%`;
        marks.push(node);
      }
    }
    $("svg", this.node).replaceChildren(...shapes);
    $(".marks", this.node).replaceChildren(...marks);
    const drawing = this.corners !== null && !this.whole;
    this.stage.classList.toggle("drawing", drawing);
    $(".draw", this.node).hidden = this.corners !== null;
    for (const name of ["undo", "done", "cancel"]) $(`.${name}`, this.node).hidden = !drawing;
    $(".undo", this.node).disabled = !this.corners?.length;
    $(".done", this.node).disabled = !(this.corners?.length >= 3);
    $(".drawn", this.node).hidden = !this.whole;
  }

  // A zone's corners as shares of the picture: those of the file, which are pixels where one exceeds 1.
  shares(polygon) {
    if (polygon.every(([x, y]) => x >= 0 && x <= 1 && y >= 0 && y <= 1)) return polygon;
    const size = this.frame && [this.frame.width, this.frame.height];
    return size && polygon.map(([x, y]) => [x / size[0], y / size[1]]);
  }

  begin() {
    this.corners = [];
    this.whole = false;
    this.draw();
  }

  click(event) {
    if (this.corners === null || this.whole) return;
    const area = this.stage.getBoundingClientRect();
    const share = (value, from, length) => Math.round(1000 * Math.min(1, Math.max(0, (value - from) / length))) / 1000;
    const corner = [share(event.clientX, area.left, area.width), share(event.clientY, area.top, area.height)];
    const first = this.corners[0];
    const near = first && Math.hypot((corner[0] - first[0]) * area.width, (corner[1] - first[1]) * area.height) < 12;
    if (near && this.corners.length >= 3) return this.finish();
    this.corners.push(corner);
    this.draw();
  }

  finish() {
    this.whole = true;
    const taken = new Set(this.zones.map(zone => zone.name));
    let number = 1;
    while (taken.has(`zone${number}`)) number++;
    $(".zone-name", this.node).value = `zone${number}`;
    this.draw();
    this.tell();
  }

  discard() {
    this.corners = null;
    this.whole = false;
    this.draw();
  }

  // The zone as it stands in the file.
  tell() {
    const name = $(".zone-name", this.node).value.replace(/[^A-Za-z0-9_-]/g, "_") || "zone";
    const share = value => Number.isInteger(value) ? `${value}.0` : String(value);
    const corners = this.corners.map(([x, y]) => `[${share(x)}, ${share(y)}]`).join(", ");
    const zone = `    { name = "${name}", polygon = [${corners}] },\n`;
    const others = this.zones.length > 0;
    $(".where", this.node).textContent = others
      ? `Add this line to the list zones of the [[camera]] named ${this.name}, and send the daemon SIGHUP (systemctl reload).`
      : `Put this into the [[camera]] named ${this.name}, and send the daemon SIGHUP (systemctl reload).`;
    $(".toml", this.node).value = others ? zone : `zones = [\n${zone}]\n`;
  }

  async copy() {
    const text = $(".toml", this.node), button = $(".copy", this.node);
    text.select();
    try {
      await navigator.clipboard.writeText(text.value);
    } catch {
      // Without TLS, browsers have only this.
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
}

// Of a polygon's area; of its corners where it has none.
function centre(points) {
  let area = 0, x = 0, y = 0;
  points.forEach(([x1, y1], i) => {
    const [x2, y2] = points[(i + 1) % points.length], cross = x1 * y2 - x2 * y1;
    area += cross;
    x += (x1 + x2) * cross;
    y += (y1 + y2) * cross;
  });
  if (Math.abs(area) > 1e-9) return [x / (3 * area), y / (3 * area)];
  return [0, 1].map(axis => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}

const cameras = new Map();
const objects = new Map();
let question = new AbortController();

// Asks for the next pictures of the cameras that can be seen, all in one question: browsers have few connections.
async function watch() {
  for (;;) {
    const visible = document.hidden ? [] : [...cameras.values()].filter(camera => camera.visible);
    if (visible.length === 0) {
      await pause(200);
      continue;
    }
    question = new AbortController();
    try {
      const asked = visible.map(camera => `${path(camera.name)}=${camera.seen ?? ""}`).join("&");
      const answer = await get(`/api/frames?${asked}`, question.signal);
      if (answer.status === 200) await Promise.all(pictures(await answer.arrayBuffer()));
      else if (answer.status !== 204) await pause(1000);
    } catch (error) {
      if (error.name !== "AbortError") await pause(1000);
    }
  }
}

// Shows what an answer holds: JSON and JPEG in turn, each behind its length.
function pictures(bytes) {
  const view = new DataView(bytes), shown = [];
  let place = 0;
  const part = () => {
    const length = view.getUint32(place, true), from = place + 4;
    place = from + length;
    return new Uint8Array(bytes, from, length);
  };
  while (place < bytes.byteLength) {
    const frame = JSON.parse(new TextDecoder().decode(part()));
    shown.push(cameras.get(frame.camera)?.show(frame, part()));
  }
  return shown;
}

function showCameras(states) {
  const place = $("#cameras");
  for (const state of states) {
    if (!cameras.has(state.name)) {
      const camera = new Camera(state.name);
      cameras.set(state.name, camera);
      place.append(camera.node);
    }
    cameras.get(state.name).update(state);
  }
  // In the order of the file.
  states.forEach(({ name }, i) => {
    const node = cameras.get(name).node;
    if (place.children[i] !== node) place.insertBefore(node, place.children[i]);
  });
  const names = new Set(states.map(state => state.name));
  for (const [name, camera] of cameras) {
    if (names.has(name)) continue;
    camera.node.remove();
    cameras.delete(name);
  }
}

function showObjects(states) {
  $("#no-objects").hidden = states.length > 0;
  const known = new Set();
  const nodes = states.map(object => {
    const key = `${object.camera}/${object.id}/${object.first_seen}`;
    known.add(key);
    const text = JSON.stringify(object);
    let entry = objects.get(key);
    if (entry?.text !== text) {
      const node = objectNode(object);
      entry?.node.replaceWith(node);
      entry = { node, text };
      objects.set(key, entry);
    }
    return entry.node;
  });
  for (const key of [...objects.keys()].filter(key => !known.has(key))) objects.delete(key);
  const place = $("#objects");
  if (nodes.length !== place.children.length || nodes.some((node, i) => node !== place.children[i])) place.replaceChildren(...nodes);
}

function objectNode(object) {
  const node = make("div", "object");
  node.classList.toggle("here", !object.ended);
  const picture = make(object.picture ? "a" : "div", "picture", object.picture ? "" : "no picture");
  if (object.picture) {
    picture.href = `/objects/${path(object.camera)}/${object.id}.jpg`;
    picture.target = "_blank";
    const image = make("img");
    image.alt = object.class;
    // Another one for each change of the object.
    image.src = `${picture.href}?t=${object.time}`;
    picture.append(image);
  }
  const text = make("div", "text"), title = make("div", "title", object.class);
  title.append(make("span", "", Number(object.score).toFixed(2)));
  text.append(title, make("div", "soft", `${object.camera}, object ${object.id}`));
  const since = clock(object.first_seen);
  text.append(make("div", "soft", object.ended ? `${since}, for ${span(object.time - object.first_seen)}` : `since ${since}`));
  const doing = { object_started: "in view", object_moved: "moving", object_stopped: "standing still", object_ended: "gone" };
  const zones = object.zones.length ? ` · ${object.zones.join(", ")}` : "";
  text.append(make("div", "soft", `${doing[object.change] ?? object.change}${zones}`));
  node.append(picture, text);
  return node;
}

function showEvents(events) {
  $("#no-events").hidden = events.length > 0;
  const text = JSON.stringify(events);
  if (text === showEvents.text) return;
  showEvents.text = text;
  $("#events").replaceChildren(...events.map(event => {
    const line = make("li"), time = make("time", "", clock(event.time));
    time.dateTime = at(event.time).toISOString();
    line.append(time, make("span", "who", event.camera ?? "daemon"), make("span", "what", event.event), make("span", "detail", event.detail));
    return line;
  }));
}

async function run() {
  for (;;) {
    if (!document.hidden) {
      try {
        const state = await (await get("/api/state")).json();
        showCameras(state.cameras);
        showObjects(state.objects);
        showEvents(state.events);
        const running = state.cameras.filter(camera => camera.state === "running").length;
        $("#summary").textContent = `${running} of ${state.cameras.length} ${state.cameras.length === 1 ? "camera" : "cameras"} running`
          + (state.mqtt ? " · MQTT connected" : "") + ` · ${state.version}`;
        $("#trouble").hidden = true;
      } catch {
        $("#trouble").hidden = false;
      }
    }
    await pause(1000);
  }
}
run();
watch();
