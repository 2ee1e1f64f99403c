// The API reference: complete, without console messages and without external requests.

import { SERVICE, assert, onPage } from "./page.mjs";

async function opened(page) {
  page.told = [];
  page.elsewhere = [];
  page.on("console", (line) => ["error", "warning"].includes(line.type()) && page.told.push(line.text()));
  await page.route((url) => url.origin !== SERVICE, (route) => {
    page.elsewhere.push(route.request().url());
    return route.abort("internetdisconnected");
  });
  await page.goto(`${SERVICE}/docs`);
  await page.waitForSelector("#routes details");
}

onPage("every described route is there to be unfolded, and the console says nothing", async (page) => {
  const described = await page.evaluate(async () => Object.entries((await (await fetch("/openapi.json")).json()).paths)
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method}${path}`)));
  const routes = page.locator("#routes details.route");
  assert.deepEqual((await routes.evaluateAll((all) => all.map(({ id }) => id))).sort(), described.sort());
  await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  assert.match(await page.locator('[id="post/api/engine/chat"]').innerText(), /temperature\s[\s\S]*0\.7/);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual([page.told, page.elsewhere], [[], []]);
}, { opened });

onPage("groups have their proper names, and lead to their routes", async (page) => {
  const names = await page.locator("#contents a").allInnerTexts();
  assert.deepEqual(names, await page.locator("#routes h2").allInnerTexts());
  for (const name of ["Chat", "OpenAI", "Sign-in"]) assert.ok(names.includes(name), names.join(", "));
  await page.getByRole("link", { name: "OpenAI" }).click();
  assert.ok(await page.locator("#routes h2", { hasText: "OpenAI" }).isVisible());
}, { opened });
