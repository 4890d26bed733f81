"use strict";
const map = JSON.parse(document.getElementById("points").textContent);
const canvas = document.getElementById("map"), tip = document.getElementById("tip");
const PAD = 14, REACH = 14, SHOWN = 96;
let width = 0, height = 0;

const at = p => [PAD + p[0] / 1000 * (width - 2 * PAD), height - PAD - p[1] / 1000 * (height - 2 * PAD)];

function draw(chosen) {
  const scale = window.devicePixelRatio || 1, ink = getComputedStyle(canvas).color;
  width = canvas.clientWidth; height = canvas.clientHeight;
  canvas.width = width * scale; canvas.height = height * scale;
  const c = canvas.getContext("2d");
  c.scale(scale, scale);
  const area = width * height / map.points.length;
  const r = Math.max(1.3, Math.min(5, Math.sqrt(area) / 7));
  for (let i = map.points.length - 1; i >= 0; i--) {  // the rarest last, on top
    const [x, y] = at(map.points[i]);
    c.fillStyle = map.colors[map.points[i][2]] || "#888";
    c.beginPath(); c.arc(x, y, r, 0, 7); c.fill();
  }
  if (!chosen) return;
  const [x, y] = at(chosen);
  c.strokeStyle = ink; c.lineWidth = 2; c.beginPath(); c.arc(x, y, r + 3, 0, 7); c.stroke();
}

function picture(number) {
  const place = number % map.per_sheet, box = document.createElement("i");
  const sheet = map.sheets[Math.floor(number / map.per_sheet)];
  const x = place % map.columns, y = Math.floor(place / map.columns);
  box.style.backgroundImage = `url("${sheet}")`;
  box.style.backgroundSize = `${map.columns * SHOWN}px auto`;
  box.style.backgroundPosition = `${-x * SHOWN}px ${-y * SHOWN}px`;
  if (map.cell <= 48) box.style.imageRendering = "pixelated";
  return box;
}

function line(text, bold) {
  const box = document.createElement(bold ? "b" : "span");
  box.dir = "auto"; box.textContent = text;
  return box;
}

let last = null;
function point(event) {
  const box = canvas.getBoundingClientRect();
  const mx = event.clientX - box.left, my = event.clientY - box.top;
  let best = null, near = REACH * REACH;
  for (const p of map.points) {
    if (p.length < 4) continue;
    const [x, y] = at(p), d = (x - mx) ** 2 + (y - my) ** 2;
    if (d < near) { near = d; best = p; }
  }
  if (best === last) return;
  last = best;
  draw(best);
  tip.hidden = !best;
  if (!best) return;
  const [, , ordinal, number, name, rarity, label] = best;
  tip.replaceChildren(
    ...(number < 0 ? [] : [picture(number)]),
    line(ordinal < 0 ? `rarity ${rarity}` : `rarity ${rarity}, class ${ordinal}`, true),
    ...(label ? [line(label)] : []),
    line(name));
  const [x, y] = at(best);
  tip.style.left = Math.max(4, Math.min(x + 12, width - tip.offsetWidth - 4)) + "px";
  const below = y + 12 + tip.offsetHeight < height;
  tip.style.top = Math.max(4, below ? y + 12 : y - 12 - tip.offsetHeight) + "px";
}
canvas.addEventListener("pointermove", point);
canvas.addEventListener("pointerdown", point);
canvas.addEventListener("pointerleave", e => {
  if (e.pointerType !== "mouse") return;
  last = null; tip.hidden = true; draw();
});
window.addEventListener("resize", () => draw());
draw();
