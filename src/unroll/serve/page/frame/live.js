// Announcements for screen readers: the last one within 150 ms, politely.
let waiting = 0;

export function announce(text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    document.getElementById("live").textContent = text;
  }, 150);
}
