// The page goes into the Python package, under names without digests: it is committed, and served with an ETag.
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  resolve: { dedupe: ["three", "@bufbuild/protobuf"] }, // for ../webxr too, whose packages are the ones here
  build: {
    outDir: process.env.TEXSYNTH_PAGE_OUT ?? "../../grpc/texsynth_rpc/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    rollupOptions: {
      input: ["index.html", "xr.html"],
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  worker: { format: "es", rollupOptions: { output: { entryFileNames: "[name].js" } } },
});
