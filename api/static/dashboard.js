// Keeps RQ's dashboard in the theme of the other pages. It has a theme of its own: a class on the
// root, remembered under another name. Runs before the dashboard's own scripts.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function follow() {
    const dark = (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
    try { localStorage.setItem("theme", dark ? "dark" : "light"); } catch { /* forbidden */ }
    root.classList.toggle("dark", dark);
  }

  follow();
  system.addEventListener("change", follow);
  new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });
})();
