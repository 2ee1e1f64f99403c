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

/** Load the page again, until it shows the conversation and can send. */
export async function reload(page) {
  await page.reload();
  await page.waitForSelector(".answer");
  await page.waitForSelector("#model option[value]", { state: "attached" });
}

export const answers = (page) => page.locator(".answer");
export const last = (page) => answers(page).last();
export const textOf = async (page) => (await last(page).locator("> .text").innerText()).trim();

export async function write(page, text) {
  await page.fill("#message", text);
  await page.press("#message", "Enter");
}

/** Until the last answer has begun to show text. */
export const begun = (page) => page.waitForFunction(() => [...document.querySelectorAll(".answer")].at(-1)?.querySelector(":scope > .text").textContent.length > 20);

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

/** Have the service's surroundings change: see Control in test_browser.py. */
export const control = (action) => fetch(`${process.env.CONTROL_URL}/${action}`, { method: "POST" });
export const kill = control;

export { assert };
