// Sets the chosen theme before anything is painted; a plain script, so that it runs first.
try {
  const theme = localStorage.getItem("unroll.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the page follows the system.
}
