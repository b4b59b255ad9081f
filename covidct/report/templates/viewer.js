"use strict";
/* The slice viewer of a scan's page. Slices are JPEGs of 8-bit greys, masks PNGs of labels, maps bytes of coarse cells;
   a slice is decoded when it is looked at, few are kept, and a table of 256 entries makes the window. */
(() => {
  const KEPT = 24; // decoded slices
  const AHEAD = 3; // slices decoded on both sides of the one shown
  const WHEEL = 40; // pixels of scrolling that move by one slice: a notch of a wheel has 100 or more, a touchpad few
  const root = document.getElementById("viewer");
  if (!root) return;

  const holder = document.getElementById("viewer-data");
  const data = JSON.parse(holder.textContent);
  holder.remove(); // the text of ten megabytes is not needed twice
  const [width, height] = data.size;
  const count = data.slices.length;
  const canvas = document.getElementById("slice");
  const screen = canvas.getContext("2d", { alpha: false });
  const image = screen.createImageData(width, height);
  const scratch = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const along = document.getElementById("along");
  const level = document.getElementById("level");
  const span = document.getElementById("width");
  const windows = [...root.querySelectorAll("[name=window]")];

  /* Layers: the data of each with its controls, from the lowest to the highest. */
  const layers = Object.entries(data.layers).map(([name, layer]) => {
    const controls = root.querySelector(`[data-layer="${name}"]`);
    const [box, opacity] = controls.querySelectorAll("input");
    const absent = controls.querySelector(".absent");
    if (layer.kind === "heat") prepareHeat(layer);
    return { ...layer, name, box, opacity, absent };
  });

  /* Of each column and row of the picture: the cell to its upper left, and the share of the next one. */
  function prepareHeat(layer) {
    const [rows, columns] = layer.cells;
    const [x0, y0, x1, y1] = layer.box;
    layer.values = Uint8Array.from(atob(layer.values), (letter) => letter.charCodeAt(0));
    layer.columns = cells(width, x0, x1, columns);
    layer.rows = cells(height, y0, y1, rows);
  }

  function cells(pixels, low, high, number) {
    return Array.from({ length: pixels }, (_, pixel) => {
      const place = (pixel + 0.5) / pixels;
      if (place < low || place > high) return null;
      const cell = Math.min(Math.max((number * (place - low)) / (high - low) - 0.5, 0), number - 1);
      const first = Math.min(Math.floor(cell), Math.max(number - 2, 0));
      return [first, Math.min(first + 1, number - 1), cell - first];
    });
  }

  /* Pictures. */
  const cache = new Map();

  function load(index) {
    let found = cache.get(index);
    cache.delete(index);
    found ??= Promise.all([
      decode("jpeg", data.slices[index]),
      ...layers.map((layer) => (layer.pictures?.[index] ? decode("png", layer.pictures[index]) : null)),
    ]);
    cache.set(index, found); // the newest at the end
    if (cache.size > KEPT) cache.delete(cache.keys().next().value);
    return found;
  }

  async function decode(kind, text) {
    const picture = new Image();
    picture.src = `data:image/${kind};base64,${text}`;
    await picture.decode();
    scratch.drawImage(picture, 0, 0);
    const pixels = scratch.getImageData(0, 0, width, height).data;
    const grey = new Uint8Array(width * height);
    for (let i = 0; i < grey.length; i++) grey[i] = pixels[4 * i];
    return grey;
  }

  /* Drawing. */
  function windowTable() {
    const low = level.valueAsNumber - span.valueAsNumber / 2;
    return Uint8ClampedArray.from(data.values, (value) => (255 * (value - low)) / span.valueAsNumber);
  }

  function isThere(layer, index) {
    if (layer.kind === "labels") return Boolean(layer.pictures[index]);
    if (layer.kind === "heat") return Boolean(layer.known[index]);
    return layer.shares[index] !== null;
  }

  function draw(index, [grey, ...pictures]) {
    const table = windowTable();
    const shown = layers.filter((layer) => layer.box.checked && isThere(layer, index));
    for (const layer of shown) if (layer.kind === "fade") fade(table, layer.shares[index], opacity(layer));
    const out = image.data;
    for (let i = 0; i < grey.length; i++) {
      out[4 * i] = out[4 * i + 1] = out[4 * i + 2] = table[grey[i]];
      out[4 * i + 3] = 255;
    }
    for (const layer of shown) {
      if (layer.kind === "heat") drawHeat(out, layer, index);
      if (layer.kind === "labels") drawLabels(out, layer, pictures[layers.indexOf(layer)]);
    }
    screen.putImageData(image, 0, 0);
    for (const layer of layers) layer.absent.hidden = isThere(layer, index);
    canvas.dataset.shown = index;
  }

  const opacity = (layer) => layer.opacity.valueAsNumber / 100;

  /* What slice attention leaves: grey to the power of 0.001 + 1 / share, as on the montage. */
  function fade(table, share, part) {
    for (let i = 0; i < 256; i++) {
      const left = share > 1e-6 ? 255 * (table[i] / 255) ** (0.001 + 1 / share) : 0;
      table[i] += part * (left - table[i]);
    }
  }

  function drawHeat(out, layer, index) {
    const [rows, columns] = layer.cells;
    const start = index * rows * columns;
    const part = opacity(layer);
    for (let y = 0; y < height; y++) {
      if (!layer.rows[y]) continue;
      const [upper, lower, down] = layer.rows[y];
      for (let x = 0; x < width; x++) {
        if (!layer.columns[x]) continue;
        const [left, right, across] = layer.columns[x];
        const above = start + upper * columns;
        const below = start + lower * columns;
        const top = layer.values[above + left] * (1 - across) + layer.values[above + right] * across;
        const bottom = layer.values[below + left] * (1 - across) + layer.values[below + right] * across;
        const value = top * (1 - down) + bottom * down;
        if (value >= 0.5) mix(out, y * width + x, layer.palette[Math.round(value)], (part * value) / 255);
      }
    }
  }

  function drawLabels(out, layer, labels) {
    const part = opacity(layer);
    const line = layer.filled ? Math.min(1, 2.2 * part) : part;
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const label = labels[i];
        if (!label) continue;
        const inside =
          x > 0 && labels[i - 1] === label && x < width - 1 && labels[i + 1] === label &&
          y > 0 && labels[i - width] === label && y < height - 1 && labels[i + width] === label;
        if (inside && !layer.filled) continue;
        mix(out, i, layer.colours[(label - 1) % layer.colours.length], inside ? part : line);
      }
    }
  }

  function mix(out, i, colour, part) {
    for (let band = 0; band < 3; band++) out[4 * i + band] += part * (colour[band] - out[4 * i + band]);
  }

  /* Where the reader is. */
  let wanted = data.start;
  let working = false;
  let stale = true;

  async function refresh() {
    stale = true;
    if (working) return;
    working = true;
    while (stale) {
      stale = false;
      const index = wanted;
      const pictures = await load(index);
      if (index === wanted || stale) draw(index, pictures);
    }
    working = false;
    for (let step = 1; step <= AHEAD; step++) {
      for (const index of [wanted + step, wanted - step]) if (index >= 0 && index < count) load(index);
    }
  }

  function go(index) {
    const next = Math.min(Math.max(Math.round(index), 0), count - 1);
    if (next === wanted) return false;
    wanted = next;
    tell();
    refresh();
    return true;
  }

  function put(id, text) {
    const element = document.getElementById(id);
    if (element) element.textContent = text;
  }

  function tell() {
    if (count === 1) return;
    along.value = wanted;
    put("place", wanted);
    const lift = document.getElementById("height");
    if (lift) lift.textContent = (wanted * Number(lift.dataset.step)).toFixed(1);
    put("score-here", data.scores[wanted]?.toFixed(3) ?? "–");
    put("times-here", data.times[wanted]?.toFixed(2) ?? "–");
    const words = `slice ${wanted} of 0 to ${count - 1}`;
    const score = data.scores[wanted] == null ? "" : `, score ${data.scores[wanted].toFixed(2)}`;
    for (const slider of [canvas, ...curves.map((curve) => curve.svg)]) {
      slider.setAttribute("aria-valuenow", wanted);
      slider.setAttribute("aria-valuetext", words + score);
    }
    along.setAttribute("aria-valuetext", words + score);
    for (const curve of curves) curve.move();
  }

  const KEYS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

  function onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in KEYS) go(wanted + KEYS[event.key]);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(count - 1);
    else return;
    event.preventDefault();
  }

  /* The curves of the page: a line where the reader is, a click or the keys to go elsewhere. */
  const curves = [...document.querySelectorAll("[data-curve] svg")].map((svg) => {
    const { left, right, top, bottom } = svg.closest("[data-curve]").dataset;
    const at = (index) => Number(left) + (index / (count - 1)) * (right - left);
    const line = document.createElementNS(svg.namespaceURI, "path");
    line.setAttribute("class", "cursor");
    svg.append(line);
    svg.tabIndex = 0;
    svg.setAttribute("role", "slider");
    svg.setAttribute("aria-valuemin", 0);
    svg.setAttribute("aria-valuemax", count - 1);
    const jump = (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      go(((place.x - left) / (right - left)) * (count - 1));
    };
    svg.addEventListener("pointerdown", jump);
    svg.addEventListener("pointermove", (event) => event.buttons & 1 && jump(event));
    svg.addEventListener("keydown", onKey);
    return { svg, move: () => line.setAttribute("d", `M${at(wanted).toFixed(1)} ${top}V${bottom}`) };
  });

  /* Controls. */
  function onWindow() {
    for (const input of [level, span]) input.nextElementSibling.textContent = String(input.value).replace("-", "−");
    refresh();
  }

  function choose(preset) {
    preset.checked = true;
    if (preset.dataset.low) {
      const [low, high] = [Number(preset.dataset.low), Number(preset.dataset.high)];
      level.value = (low + high) / 2;
      span.value = high - low;
    }
    onWindow();
  }

  function nextWindow() {
    if (!windows.length) {
      for (const input of [level, span]) input.value = input.defaultValue;
      return onWindow();
    }
    const named = windows.filter((preset) => preset.dataset.low);
    choose(named[(named.findIndex((preset) => preset.checked) + 1) % named.length]);
  }

  let hidden = null; // the layers that O has put away

  function toggleLayers() {
    const on = layers.filter((layer) => layer.box.checked);
    for (const layer of on.length ? on : (hidden ?? layers)) layer.box.checked = !on.length;
    hidden = on.length ? on : null;
    refresh();
  }

  for (const preset of windows) preset.addEventListener("change", () => choose(preset));
  for (const input of [level, span]) {
    input.addEventListener("input", () => {
      const own = windows.find((preset) => !preset.dataset.low);
      if (own) own.checked = true;
      onWindow();
    });
  }
  for (const layer of layers) {
    layer.box.addEventListener("change", refresh);
    layer.opacity.addEventListener("input", refresh);
  }
  canvas.addEventListener("keydown", (event) => {
    if (count > 1) onKey(event);
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "w" || event.key === "W") nextWindow();
    if (event.key === "o" || event.key === "O") toggleLayers();
  });
  if (count > 1) {
    along.addEventListener("input", () => go(along.valueAsNumber));
    along.addEventListener("keydown", onKey); // browsers disagree about Page Up
    for (const button of root.querySelectorAll("[data-step]")) {
      if (button.type === "button") button.addEventListener("click", () => go(wanted + Number(button.dataset.step)));
    }
    let scrolled = 0;
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey) return; // the browser's zoom
        scrolled += event.deltaY * (event.deltaMode === 1 ? WHEEL : 1);
        const steps = Math.trunc(scrolled / WHEEL);
        const edge = event.deltaY > 0 ? 0 : count - 1;
        if (wanted === edge) {
          scrolled = 0; // at an end the page scrolls on
          return;
        }
        event.preventDefault();
        if (!steps) return;
        scrolled = 0;
        go(wanted - Math.sign(steps));
      },
      { passive: false },
    );
    let grip = null;
    canvas.addEventListener("pointerdown", (event) => {
      grip = { x: event.clientX, from: wanted };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!grip) return;
      const perSlice = Math.max(3, canvas.clientWidth / Math.max(count, 40));
      go(grip.from + (event.clientX - grip.x) / perSlice);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (grip = null));
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.("a[data-slice]");
      if (!link) return;
      event.preventDefault();
      go(Number(link.dataset.slice));
      root.scrollIntoView();
      canvas.focus({ preventScroll: true });
    });
  }

  root.querySelector(".stage").hidden = false;
  tell();
  onWindow();
})();
