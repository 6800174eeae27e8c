// Screens are loaded when they are first shown.
import { unreachable } from "./fetch.js";

export const lazy = (name) => () => import(`../screens/${name}.js`).then((module) => module.default, () => Promise.reject(unreachable()));
