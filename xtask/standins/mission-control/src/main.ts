// Shows whether the address that was put in when the container started is one that this browser reaches.
const url: string = import.meta.env.VITE_CONVEX_URL;
const state = document.getElementById("state");

fetch(`${url}/version`).then(
  async (response) => {
    if (state) state.textContent = `Convex ${await response.text()} at ${url}`;
  },
  () => {
    if (state) state.textContent = `Convex does not answer at ${url}`;
  },
);
