// Small pieces of the page. Text goes in as text only, never as markup.

const TONES = 6; // of avatars and names, see style.css

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

export function button(className, text, onClick) {
  const made = element("button", className, text);
  made.type = "button";
  made.onclick = onClick;
  return made;
}

/** The first letter of a name on its colour; decoration, since the name stands beside it. */
export function avatar(name) {
  const made = element("span", `avatar ${tone(name)}`, [...name][0]?.toLocaleUpperCase() ?? "");
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** The same colour for the same name, everywhere. */
export function tone(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) >>> 0;
  return `tone-${sum % TONES}`;
}

const EDGE = 8; // pixels that a menu keeps from the edges of the page

/** Put an open menu below a button, or above it where there is no room; never over the edges. */
export function placeAt(menu, at) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + height + EDGE < innerHeight;
  menu.style.top = `${Math.max(EDGE, below ? at.bottom : at.top - height)}px`;
  menu.style.left = `${Math.max(EDGE, Math.min(at.left, innerWidth - width - EDGE))}px`;
}
