// Screens are loaded when they are first shown.
export const lazy = (name) => () => import(`../screens/${name}.js`).then((module) => module.default);
