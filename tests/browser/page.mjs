// Shared by the browser tests: one Chromium per file, one page per test, and functions for what a reader does.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
export const SERVICE = process.env.PAGE_URL;
export const KEYED = process.env.KEYED_URL; // a service with keys, on the echo backend
const LIMIT_MS = Number(process.env.LIMIT_MS ?? 120_000);
export const HUNDRED = Array.from({ length: 100 }, (_, index) => index + 1).join(", ") + ".";
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });
});
after(() => browser.close());

/** A test with a page of its own that is ready to chat, or as `options.opened` opens it. Fails, too, on an uncaught
 * error or a broken policy. */
export function onPage(name, run, options = {}) {
  test(name, async () => {
    const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(LIMIT_MS);
    const wrong = [];
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("console", (line) => /Content Security Policy/.test(line.text()) && wrong.push(line.text()));
    try {
      await (options.opened ?? open)(page, options.url);
      await run(page, context);
      assert.deepEqual(wrong, []);
    } finally {
      await context.close();
    }
  });
}

export async function open(page, url = SERVICE) {
  await page.goto(url);
  await page.waitForSelector("#model option[value]", { state: "attached" });
}

/** Until all that the chat page has saved is stored: a transaction waits for those before it. */
export const saved = (page) => page.evaluate(async () => {
  for (const { name } of await indexedDB.databases()) {
    const database = await new Promise((resolve) => { indexedDB.open(name).onsuccess = ({ target }) => resolve(target.result); });
    await new Promise((resolve) => { database.transaction(database.objectStoreNames, "readwrite").oncomplete = resolve; });
    database.close();
  }
});

/** Load the page again, until it shows the conversation and can send. */
export async function reload(page) {
  await saved(page); // a browser drops what it has not stored when the page is left
  await page.reload();
  await page.waitForSelector(".answer");
  await page.waitForSelector("#model option[value]", { state: "attached" });
}

export const answers = (page) => page.locator(".answer");
export const last = (page) => answers(page).last();
export const textOf = async (page) => (await last(page).locator("> .text").innerText()).trim();

/** Send a message; its answer is the last one then. */
export async function write(page, text) {
  const before = await answers(page).count();
  await page.fill("#message", text);
  await page.press("#message", "Enter");
  await answers(page).nth(before).waitFor({ state: "attached" });
}

/** Until the last answer's line of waiting begins with these words. They may soon be gone: wait from before their cause on. */
export const told = (page, words) => page.waitForFunction((wanted) => [...document.querySelectorAll(".waiting")].at(-1)?.textContent.startsWith(wanted), words);

/** Ask for the count to a hundred, or by `begin`, and do something for certain in the middle of the answer: its worker is stopped. */
export async function inTheMiddle(page, run, begin = () => write(page, "Count to a hundred.")) {
  await control("freeze");
  try {
    await begin();
    await control("frozen");
    await page.waitForFunction(() => [...document.querySelectorAll(".answer")].at(-1).querySelector(":scope > .text").textContent !== "");
    await run();
  } finally {
    await control("thaw");
  }
}

/** Until the last answer is over; its text. */
export async function finished(page) {
  await page.waitForFunction(() => [...document.querySelectorAll(".answer")].at(-1)?.ariaBusy === "false");
  return textOf(page);
}

export async function ask(page, text) {
  await write(page, text);
  return finished(page);
}

export async function chooseVision(page) {
  const value = await page.locator("#model option", { hasText: "demo-vision" }).getAttribute("value");
  await page.selectOption("#model", value);
}

/** Which texts take more than `most` ms to be shown as Markdown, and how long: of the processor, which others use too. */
export async function slow(page, texts, most) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const now = async () => 1000 * (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "ThreadTime").value;
  const found = [];
  for (const text of texts) {
    const began = await now();
    await page.evaluate(async (shown) => {
      const { MarkdownAnswer } = await import("/static/markdown/answer.js");
      new MarkdownAnswer(document.createElement("div")).show(shown);
    }, text);
    const took = await now() - began;
    if (took > most) found.push([text.slice(0, 8), Math.round(took)]);
  }
  return found;
}

/** Have the service's surroundings change: see Control in test_browser.py. */
export async function control(action) {
  const { status } = await fetch(`${process.env.CONTROL_URL}/${action}`, { method: "POST" });
  assert.equal(status, 204, action);
}
export const kill = control;

export { assert };
