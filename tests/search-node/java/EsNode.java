import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.SecureSettings;
import org.elasticsearch.common.settings.SecureString;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * One Elasticsearch node without the bootstrap of the distribution: its sandbox agent is in no
 * repository. There are no bootstrap checks either; the rest is the server as it is published.
 * First argument: the configuration folder. Then NAME=VALUE; "secure:NAME" is for the keystore.
 */
public class EsNode {
    /** The keystore, in memory. */
    static final class Secrets implements SecureSettings {
        final Map<String, String> values = new HashMap<>();

        public boolean isLoaded() { return true; }
        public Set<String> getSettingNames() { return values.keySet(); }
        public SecureString getString(String name) {
            String v = values.get(name);
            return v == null ? null : new SecureString(v.toCharArray());
        }
        public InputStream getFile(String name) { return new ByteArrayInputStream(bytes(name)); }
        public byte[] getSHA256Digest(String name) throws GeneralSecurityException {
            return MessageDigest.getInstance("SHA-256").digest(bytes(name));
        }
        byte[] bytes(String name) { return values.get(name).getBytes(StandardCharsets.UTF_8); }
        public void close() {}
        public void writeTo(StreamOutput out) { throw new UnsupportedOperationException(); }
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> plain = new HashMap<>();
        Secrets secrets = new Secrets();
        for (int i = 1; i < args.length; i++) {
            int eq = args[i].indexOf('=');
            String key = args[i].substring(0, eq), value = args[i].substring(eq + 1);
            if (key.startsWith("secure:")) secrets.values.put(key.substring(7), value);
            else plain.put(key, value);
        }
        LogConfigurator.configureESLogging();
        LogConfigurator.registerErrorListener();
        Settings base = Settings.builder().setSecureSettings(secrets).build();
        Environment env = InternalSettingsPreparer.prepareEnvironment(base, plain, Path.of(args[0]), () -> "node");
        LogConfigurator.setClusterName(plain.getOrDefault("cluster.name", "elasticsearch"));
        LogConfigurator.setNodeName(plain.getOrDefault("node.name", "node"));
        LogConfigurator.configure(env, true);
        Node node = new Node(env, PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(env.modulesDir(), false),
            PluginsLoader.loadPluginsBundles(env.pluginsDir(), false), Map.of()));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.prepareForClose();
                node.close();
                node.awaitClose(10, TimeUnit.SECONDS);
            } catch (Throwable t) {
                t.printStackTrace();
            }
        }));
        node.start();
        new CountDownLatch(1).await();
    }
}
