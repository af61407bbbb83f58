// Prints the name of an architecture's processor in Node.js and npm: cpu.mjs ARCH, as in platform.mjs.
import { cpuOf } from "./platform.mjs";

console.log(cpuOf(process.argv[2]));
