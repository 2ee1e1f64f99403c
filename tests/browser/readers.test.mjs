// Two readers with their own keys share a browser: each sees their own chats only, until they sign out.

import { KEYED, answers, ask, assert, onPage, open, saved } from "./page.mjs";

const KEYS = { ann: "ann-0123456789abcdef", bob: "bob-0123456789abcdef" };
const rows = (page) => page.locator("#conversations li");

/** On the sign-in page; ends on the chat page. */
async function signIn(page, name) {
  await page.getByLabel("API key").fill(KEYS[name]);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#model option[value]", { state: "attached" });
  assert.equal(await page.locator("#signed-in p").innerText(), `Signed in as ${name}`);
}

async function signOut(page) {
  await saved(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/login");
}

/** A test in which Ann has signed in. */
const asAnn = (name, run, options = {}) => onPage(name, run, { ...options, opened: async (page) => {
  await page.goto(KEYED);
  await signIn(page, "ann");
} });

asAnn("who signs out is asked for a key again, and the cookie is gone", async (page, context) => {
  await ask(page, "Something of Ann's.");
  const [cookie] = await context.cookies();
  await signOut(page);
  assert.deepEqual(await context.cookies(), []);
  const late = await fetch(`${KEYED}/models`, { headers: { Cookie: `${cookie.name}=${cookie.value}` } });
  assert.equal(late.status, 401);
  // A browser may show the page again from its memory: then it asks for a key, and shows nothing before it has one.
  await page.goBack();
  await page.waitForFunction(() => location.pathname === "/login" || document.getElementById("sign-in")?.open);
  assert.equal(await rows(page).count(), 0);
});

asAnn("conversations and settings are the reader's own, and there again at the next sign-in", async (page) => {
  await page.keyboard.press("Alt+KeyS");
  await page.getByLabel("System prompt").fill("I am Ann.");
  await page.getByRole("button", { name: "Done" }).click();
  const said = await ask(page, "Something of Ann's.");
  await signOut(page);
  await signIn(page, "bob");
  assert.equal(await rows(page).count(), 0);
  await page.keyboard.press("Alt+KeyS");
  assert.equal(await page.getByLabel("System prompt").inputValue(), "");
  await page.keyboard.press("Escape");
  await ask(page, "Something of Bob's.");
  await signOut(page);
  await signIn(page, "ann");
  assert.deepEqual(await rows(page).allInnerTexts(), ["Something of Ann's."]);
  await rows(page).first().click();
  assert.equal((await answers(page).locator(".text").innerText()).trim(), said);
});

asAnn("signing out in one tab takes the others to the sign-in", async (page, context) => {
  const other = await context.newPage();
  await open(other, KEYED);
  await signOut(page);
  await other.waitForURL("**/login");
});

asAnn("another's key in an open page opens that reader's page, not this one's", async (page, context) => {
  await ask(page, "Something of Ann's.");
  await context.clearCookies();
  await page.fill("#message", "Something more.");
  await page.keyboard.press("Enter");
  await page.locator("#key").fill(KEYS.bob);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("owner")?.textContent === "bob");
  await page.waitForSelector("#model option[value]", { state: "attached" });
  assert.equal(await rows(page).count(), 0);
  assert.equal(await answers(page).count(), 0);
});

asAnn("a tab that is looked at again is the reader's who has signed in meanwhile", async (page, context) => {
  await ask(page, "Something of Ann's.");
  const other = await context.newPage();
  await other.goto(`${KEYED}/login`);
  await signIn(other, "bob");
  await page.bringToFront();
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))); // a headless page is always visible
  await page.waitForFunction(() => document.getElementById("owner")?.textContent === "bob");
  await page.waitForSelector("#model option[value]", { state: "attached" });
  assert.equal(await rows(page).count(), 0);
});

onPage("without keys nobody is signed in, and there is nothing to sign out of", async (page) => {
  assert.ok(!(await page.locator("#signed-in").isVisible()));
});
