// Sets the chosen theme before anything is painted; a plain script, so that it runs first.
try {
  const chosen = localStorage.getItem("unroll.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing follows the system.
}
