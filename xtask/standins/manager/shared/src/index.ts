export const name = "OpenCode Manager (stand-in)";
