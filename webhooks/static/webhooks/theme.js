// Dark or light: what the user chose on this device, else what the system says. Loaded before the styles, so that no
// page flashes in the other one.
"use strict";
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("hookline-theme");
    } catch {
      return null; // The browser keeps nothing for this site.
    }
  };
  const apply = () => {
    document.documentElement.dataset.bsTheme = chosen() || (system.matches ? "dark" : "light");
  };
  system.addEventListener("change", apply);
  window.hooklineToggleTheme = () => {
    const next = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("hookline-theme", next);
    } catch {
      // It then holds for this page only.
    }
    document.documentElement.dataset.bsTheme = next;
    document.dispatchEvent(new CustomEvent("hookline:theme"));
  };
  apply();
})();
