// Example questions of an empty chat, chosen by model. The pictures are drawn here.

import { byId, element } from "../dom.js";

const CHAT = ["Hello! What can you do?", "Count to a hundred.", "What is the opposite of hot?",
  "Tell me a joke."];
const OTHERS = ["Explain how a queue works, with an example.",
  "Write a Python function that reverses a string.",
  "Compare tea and coffee in a table.", "Give me three names for a small cat."];
const SEEN = ["Describe this image.", "What is in this image?"];
const PICTURES = [
  ["A red circle", "What colour is the circle?", (draw) => circle(draw, "#e02020", 80, 120, 62)],
  ["Two blue squares", "What shape are they?", (draw) => {
    draw.fillStyle = "#2050e0";
    draw.fillRect(48, 60, 76, 76);
    draw.fillRect(196, 110, 76, 76);
  }],
  ["A green triangle", "Describe this image.", (draw) => {
    draw.fillStyle = "#20a030";
    draw.beginPath();
    for (const [x, y] of [[240, 42], [180, 150], [300, 150]]) draw.lineTo(x, y);
    draw.fill();
  }],
];

function circle(draw, colour, x, y, radius) {
  draw.fillStyle = colour;
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}

function picture(paint) {
  const canvas = element("canvas", { width: "320", height: "240" });
  const draw = canvas.getContext("2d");
  draw.fillStyle = "white";
  draw.fillRect(0, 0, 320, 240);
  paint(draw);
  return canvas;
}

/** Show the examples for a model. `send(text, files)` sends one of them. */
export function suggest(model, send) {
  byId("about-model").textContent = about(model);
  byId("examples").replaceChildren(...cards(model, send));
}

function about(model) {
  if (model?.name === "demo-chat")
    return "demo-chat is a very small model: it greets, counts, and knows everyday facts.";
  if (model?.name === "demo-vision")
    return "demo-vision is a very small model that sees simple shapes. " +
      "Pictures can also be pasted or dropped.";
  return model?.is_vision ? "Pictures can be pasted, dropped or picked." : "";
}

function cards(model, send) {
  if (!model) return [];
  if (model.name === "demo-vision") return PICTURES.map((one) => pictureCard(one, send));
  const texts = model.name === "demo-chat" ? CHAT : model.is_vision ? SEEN : OTHERS;
  return texts.map((text) => card(() => send(text, []), text));
}

function card(run, ...content) {
  const button = element("button", { type: "button", class: "card" }, ...content);
  button.addEventListener("click", run);
  return button;
}

function pictureCard([name, question, paint], send) {
  const canvas = picture(paint);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  const file = (blob) => new File([blob], `${name}.png`, { type: "image/png" });
  return card(() => canvas.toBlob((blob) => send(question, [file(blob)])),
    canvas, element("span", {}, question));
}
