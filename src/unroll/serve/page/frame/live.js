// Announcements for screen readers: the last one within 150 ms, politely.
let timer = 0;

export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    document.getElementById("live").textContent = text;
  }, 150);
}
