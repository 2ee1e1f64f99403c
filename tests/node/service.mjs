// What the tests of all clients share: where the service is, questions whose answers are known, and the end of a chat.

import assert from "node:assert/strict";
import { test } from "node:test";

export { assert, test };
export const SERVICE = process.env.SERVICE_URL;
export const CHAT = "demo-chat";
export const VISION = "demo-vision";
export const PICTURE = Buffer.from(process.env.PICTURE, "base64");
export const OPPOSITE = "What is the opposite of hot?";
export const COLD = "The opposite of hot is cold.";
export const HUNDRED = "Count to a hundred.";
export const SEEN = /red circle/;
// Makes an answer as long as its limit: one that ends by itself after a second may have ended before a busy client aborts it.
export const GOES_ON = { ignore_eos: true };
export const LONG = 3000; // tokens, ten seconds and more
export const MOODS = ["good", "bad"];

// Waits until a chat has ended, and returns how: its events are told again until the last one.
export async function endOf(job) {
  const events = await fetch(`${SERVICE}/api/engine/chat/${job}/events`);
  assert.match(await events.text(), /"done": true/);
  const view = await fetch(`${SERVICE}/api/engine/jobs/${job}`);
  return (await view.json()).finish_reason;
}
