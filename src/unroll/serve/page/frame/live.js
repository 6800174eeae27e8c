// What a screen reader is told: the last thing said within 150 ms, politely.
let waiting = 0;

export function announce(text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    document.getElementById("live").textContent = text;
  }, 150);
}
