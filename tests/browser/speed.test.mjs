// Measures an answer of 2,000 tokens while it grows, and the delay until the first token is painted.
// Prints the times without limits: a busy machine delays any frame. The tests of the renderer check that finished
// blocks stay, so that the work does not grow with the text.

import { setTimeout as pause } from "node:timers/promises";

import { SERVICE, assert, finished, onPage, write } from "./page.mjs";
import { proxy } from "./proxy.mjs";

const TOKENS = 2000, PAUSE_MS = 5; // 200 tokens a second
const PIECES = ["## Part\n\n", "Some *words* of a [longer](https://example.org) text with `code` in it. ", "And **more** of them.\n\n",
  "1. one\n2. two\n   - inner\n   - other\n\n", "```python\ndef f(x: int) -> str:\n    # says it\n    return f\"{x}\" * 3\n```\n\n",
  "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\n", "> quoted\n\n"];

/** A long answer in all of Markdown, then one long list and one long block of code, cut into pieces of four characters. */
function* tokens() {
  let text = "";
  for (let part = 0; text.length < TOKENS * 2; part += 1) text += PIECES[part % PIECES.length];
  for (let item = 0; text.length < TOKENS * 3; item += 1) text += `- item ${item} of a **long** list\n`;
  text += "\n```js\n";
  for (let line = 0; text.length < TOKENS * 4 - 5; line += 1) text += `const value${line} = "text" + ${line}; // line\n`;
  text = `${text.slice(0, TOKENS * 4 - 4)}\n\`\`\``;
  for (let at = 0; at < text.length; at += 4) yield text.slice(at, at + 4);
}

async function* frames() {
  for (const text of tokens()) {
    yield { text, done: false };
    await pause(PAUSE_MS);
  }
  yield { text: "", done: true };
}

const scripted = await proxy(SERVICE, frames);
const through = await proxy(SERVICE);

const watch = (page) => page.evaluate(() => {
  globalThis.drawn = [];
  globalThis.long = [];
  new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
  new PerformanceObserver((list) => drawn.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "measure" });
  const ask = requestAnimationFrame.bind(window);
  // Each frame that draws something: its script, and the style and layout that it causes.
  globalThis.requestAnimationFrame = (run) => ask((now) => {
    performance.mark("begin");
    run(now);
    document.getElementById("scroller").scrollHeight;
    performance.measure("drawn", "begin");
  });
});

onPage("an answer of 2,000 tokens stays smooth", async (page) => {
  await watch(page);
  await write(page, "Write something long.");
  await finished(page);
  const { drawn, long } = await page.evaluate(() => ({ drawn: globalThis.drawn.sort((a, b) => a - b), long: globalThis.long }));
  const at = (share) => drawn[Math.min(drawn.length - 1, Math.floor(drawn.length * share))].toFixed(1);
  console.log(`frames drawn: ${drawn.length}; p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms; tasks over 50 ms: ${long.length} ${long}`);
  assert.ok(drawn.length > 10, "the answer appeared in a few jumps");
  assert.equal(await page.locator(".answer li").filter({ hasText: /^item/ }).count() > 50, true);
}, { url: scripted.url });

onPage("the first token is on the page soon after the API has sent it", async (page) => {
  const waits = [];
  for (let round = 0; round < 10; round += 1) {
    through.seen.firstTextAt = null;
    await page.keyboard.press("Alt+KeyN");
    await page.waitForFunction(() => !document.querySelector(".answer"));
    await page.evaluate(() => {
      globalThis.shownAt = null;
      const channel = new MessageChannel();
      channel.port1.onmessage = () => { globalThis.shownAt = Date.now(); };
      // A frame's callbacks run before it is painted: the task after it is behind the painting.
      const look = () => document.querySelector(".answer .text")?.textContent
        ? channel.port2.postMessage(0)
        : requestAnimationFrame(look);
      requestAnimationFrame(look);
    });
    await write(page, "What is the opposite of hot?");
    assert.ok(await finished(page), "there is no answer");
    await page.waitForFunction(() => globalThis.shownAt);
    waits.push((await page.evaluate(() => globalThis.shownAt)) - through.seen.firstTextAt);
  }
  waits.sort((a, b) => a - b);
  console.log(`first token painted after the API sent it: p50 ${waits[5]} ms, longest ${waits[9]} ms`);
  assert.ok(waits[0] >= 0, `${waits}`);
}, { url: through.url });

const { after } = await import("node:test");
after(() => Promise.all([scripted.close(), through.close()]));
