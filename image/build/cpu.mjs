// Prints the name of an architecture's processor in Node.js and npm: cpu.mjs ARCH, as in platform.mjs.
import { CPUS } from "./platform.mjs";

console.log(CPUS[process.argv[2]]);
