// axe-core finds nothing on our pages: in light and dark, on a desktop and on a phone. A page is loaded once.

import { readFile } from "node:fs/promises";

import { KEYED, SERVICE, assert, finished, last, onPage, write } from "./page.mjs";

const AXE = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const SIZES = [{ width: 1100, height: 800 }, { width: 390, height: 844 }];

/** Every violation of axe's rules in a part of the page, in each scheme and size: rule and element. */
async function violations(page, part = "html") {
  await page.evaluate(AXE);
  const found = [];
  for (const size of SIZES) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const now = await page.evaluate(async (selector) => {
        await Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {})));
        const { violations: all } = await axe.run(selector, { resultTypes: ["violations"] });
        return all.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`));
      }, part);
      found.push(...now.map((one) => `${size.width} ${colorScheme} ${one}`));
    }
  }
  return found;
}

const ANSWER = `Cold: $x^2$ and

$$\\int_0^1 x\\,dx$$

\`\`\`python
def cold(hot: bool) -> str:  # a comment
    return "warm" if hot else 1
\`\`\`

| a | b |
|---|---|
| 1 | [link](https://example.com) |

> quoted \`code\` and ~~gone~~`;
const EVENTS = [{ reasoning: "Let me **think**." }, { text: ANSWER }, { done: true, finish_reason: "length",
  usage: { prompt_tokens: 5, completion_tokens: 9, cached_tokens: 0, reasoning_tokens: 5 },
  timings: { queue_ms: 1, load_ms: 0, prefill_ms: 1, ttft_ms: 2, tokens_per_second: 9 } }]
  .map((frame, at) => `id: ${at + 1}\ndata: ${JSON.stringify({ text: "", done: false, ...frame })}\n\n`).join("");

onPage("the chat page with thinking, formulas, code, a file and a system prompt; its settings", async (page) => {
  assert.deepEqual(await violations(page), []);
  await page.route("**/api/engine/chat", (route) => route.fulfill({ contentType: "text/event-stream", headers: { "X-Job-Id": "f".repeat(32) }, body: EVENTS }));
  await page.setInputFiles("#files", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("A note.") });
  await page.getByRole("button", { name: "Remove notes.txt" }).waitFor();
  await write(page, "What is the opposite of hot?");
  await finished(page);
  await last(page).locator("math").first().waitFor();
  await last(page).locator("details.thinking summary").click();
  await page.locator(".file summary").click();
  await page.fill("#message", "A draft");
  await page.setInputFiles("#files", { name: "x.bin", mimeType: "application/octet-stream", buffer: Buffer.from([0, 255]) });
  await page.waitForSelector("#problem:not([hidden])");
  assert.deepEqual(await violations(page), []);
  await page.keyboard.press("Alt+KeyS");
  await page.locator("dialog[open]").waitFor();
  await page.locator("dialog[open] summary").click();
  assert.deepEqual(await violations(page), []);
});

onPage("the models page with models in every state", async (page) => {
  const model = (more) => ({ id: more.name, path: "/m", local_path: "/m", repository: null, size: 3e9, architecture: "qwen3", context_window: 40960,
    is_vision: true, takes_tools: true, sampling_defaults: {}, downloaded: true, downloading: false, download_progress: 100, download_speed: null,
    download_eta: null, download_error: null, deletable: true, loaded: false, load_progress: null, pinned: false, kv_quantization: null, ...more });
  await page.route("**/api/engine/models", (route) => route.fulfill({ json: [
    model({ name: "loaded", loaded: true, pinned: true, kv_quantization: 4 }), model({ name: "loading", load_progress: 41 }),
    model({ name: "coming", downloaded: false, downloading: true, download_progress: 41, download_speed: 1e6, download_eta: 9 }),
    model({ name: "broken", downloaded: false, download_error: "The disk is full." })] }));
  await page.goto(`${SERVICE}/manage/models`);
  await page.locator("#list > li").nth(3).waitFor();
  await page.locator("#memory meter").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("button", { name: "Delete loaded" }).click();
  assert.deepEqual(await violations(page), []);
}, { opened: async () => {} });

onPage("the status page", async (page) => {
  await page.locator("#workers tbody tr").waitFor();
  assert.deepEqual(await violations(page), []);
}, { opened: (page) => page.goto(`${SERVICE}/status`) });

onPage("the API's reference, with a route unfolded", async (page) => {
  await page.waitForSelector("#routes details");
  await page.evaluate(() => { // the others look alike, and make the check six times as long
    const one = document.getElementById("post/api/engine/chat");
    one.open = true;
    document.querySelectorAll("#routes details.route").forEach((other) => other === one || other.remove());
  });
  assert.deepEqual(await violations(page), []);
}, { opened: (page) => page.goto(`${SERVICE}/docs`) });

onPage("the sign-in page, also with a key that is unknown", async (page) => {
  assert.deepEqual(await violations(page), []);
  await page.getByLabel("API key").fill("nobody's");
  await page.keyboard.press("Enter");
  await page.getByText("Unknown API key").waitFor();
  assert.deepEqual(await violations(page), []);
}, { opened: (page) => page.goto(`${KEYED}/login`) });

onPage("the frame of RQ's dashboard", async (page) => {
  await page.waitForSelector("section.top");
  assert.deepEqual(await violations(page, "section.top"), []);
}, { opened: (page) => page.goto(`${SERVICE}/rq/jobs`) });
